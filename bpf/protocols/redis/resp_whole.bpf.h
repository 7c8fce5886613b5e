/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Small requests that lie in the window whole: one, and those behind it that repeat its shape. resp.bpf.h follows all others. */
#ifndef KILN_RESP_WHOLE_BPF_H
#define KILN_RESP_WHOLE_BPF_H

#include "common/bpf.h"
#include "requests/request_reader.bpf.h"

#define RESP_STEPS_MAX 65536
#define RESP_REPEATS_AT_ONCE 15      /* requests of one shape that one step passes over */
#define RESP_BULK_MAX (512ULL << 20) /* proto-max-bulk-len as shipped */
#define RESP_ARGUMENTS_MAX (1ULL << 31)

/* To be provided: whether a command's arguments make a difference, and then the row of that variant, where the arguments start at an
 * offset of the window. */
static bool is_special(const struct request_reader *r, __u32 command);
static __u32 command_variant(struct request_reader *r, __u32 command, __u32 offset);

/* "?<1 to 4 digits>\r\n" at `b`: the length of the header and its number; 0: look closer. */
static __always_inline __u32 short_header(const __u8 *b, __u32 available, __u64 *number)
{
	__u64 x = *(const __u64 *)b;
	__u32 d1 = ((x >> 8) & 255) - '0', d2 = ((x >> 16) & 255) - '0';
	__u32 d3 = ((x >> 24) & 255) - '0', d4 = ((x >> 32) & 255) - '0';
	const __u32 cr = (__u32)('\r' - '0');

	if (available < 8 || d1 > 9)
		return 0;
	if (d2 == cr) {
		*number = d1;
		return 4;
	}
	if (d2 > 9)
		return 0;
	if (d3 == cr) {
		*number = d1 * 10 + d2;
		return 5;
	}
	if (d3 > 9)
		return 0;
	if (d4 == cr) {
		*number = d1 * 100 + d2 * 10 + d3;
		return 6;
	}
	if (d4 > 9 || ((x >> 40) & 255) != '\r')
		return 0;
	*number = d1 * 1000 + d2 * 100 + d3 * 10 + d4;
	return 7;
}

/* The beginning of a request of 2 or 3 arguments, which decides how long it is: up to `head` bytes, and where there is a third one,
 * the header at `second`. Offsets from its first byte; no `head`: it is another kind of request. */
struct resp_shape {
	__u32 head;
	__u32 second;
};

/* A whole small command inside the window: name of up to 9 bytes, up to 4 more arguments. Writes no stream state,
 * so it may give up (0) at any point. */
static __always_inline int whole_command(struct request_reader *r, __u32 offset, __u32 available, struct resp_shape *shape)
{
	const __u32 start = offset;
	const __u8 *b = &r->bytes[offset];
	__u64 x = *(const __u64 *)b, second = 0, length;
	__u32 arguments, given, name_length, after_name, header, command, i;

	/* '*' digit CR LF '$' digit CR LF */
	if (available < 14 || (x & 0xffff00ffffff00ffULL) != 0x0a0d00240a0d002aULL)
		return 0;
	arguments = ((x >> 8) & 255) - '0';
	name_length = ((x >> 40) & 255) - '0';
	/* The name must lie in the window: stale bytes follow it. */
	if (arguments - 1 > 8 || name_length > 9 || 8 + name_length > available)
		return 0;
	x = upper_case(first_bytes(*(const __u64 *)(b + 8), name_length));
	if (name_length > 8)
		second = upper_case(b[16]);
	offset += 10 + name_length;
	after_name = offset;
	shape->head = shape->second = 0;
	barrier_var(arguments);
	given = arguments;
#pragma unroll
	for (i = 0; i < 4; i++) {
		if (arguments == 1)
			break;
		if (offset + 8 > r->window_length)
			return 0;
		offset = in_window(offset);
		b = &r->bytes[offset];
		header = *b == '$' ? short_header(b, 8, &length) : 0;
		if (!header)
			return 0;
		if (i == 0)
			shape->head = offset - start + header;
		if (i == 1)
			shape->second = offset - start;
		offset += header + (__u32)length + 2;
		arguments--;
	}
	/* The last argument may run past the window, not past the receive. */
	if (arguments != 1 || offset > r->end - r->window_start)
		return 0;
	command = short_name(r, x, second, 0);
	if (is_special(r, command)) {
		command = command_variant(r, command, after_name);
		shape->head = 0;
	}
	if (given > 3)
		shape->head = 0;
	r->position = r->window_start + offset;
	complete_request(r, command);
	return 1;
}

/* Whether what comes next may have the shape of the request that begins at `start`: as many arguments and a name as long. */
static __always_inline bool next_begins_alike(const struct request_reader *r, __u32 start)
{
	return word_at(&r->bytes[in_window(start)]) == word_at(&r->bytes[in_window(r->position - r->window_start)]);
}

/* Requests that have the shape of the one that begins at `start` and has just been completed are as long as it: they are passed over
 * without being read again. */
__noinline int resp_pass_repeated(struct request_reader *r, __u32 start, __u32 head, __u32 second)
{
	__u64 first, more, most, header, more_mask, most_mask, header_mask = 0, number;
	__u32 length, offset, room, i, reach = head;
	const __u64 *b, *second_header;

	if (!r || head < 8 || head > 24 || requests_are_single(r, r->run_command))
		return 0;
	offset = r->position - r->window_start;
	length = offset - start;
	b = (const __u64 *)&r->bytes[in_window(start)];
	first = b[0];
	more = b[1];
	most = b[2];
	more_mask = first_bytes(~0ULL, head - 8);
	most_mask = head > 16 ? first_bytes(~0ULL, head - 16) : 0;
	header = word_at(&r->bytes[in_window(start + second)]);
	if (second) {
		header_mask = first_bytes(~0ULL, short_header(&r->bytes[in_window(start + second)], 8, &number));
		reach = second + 8;
	}
	/* The last one may run past the window, not past the receive. */
	if (offset + reach > r->window_length || length < head)
		return 0;
	room = (r->window_length - offset - reach) / length + 1;
	if (room > (r->end - r->position) / length)
		room = (r->end - r->position) / length;
	if (room > RESP_REPEATS_AT_ONCE)
		room = RESP_REPEATS_AT_ONCE;
	for (i = 0; i < RESP_REPEATS_AT_ONCE; i++) {
		b = (const __u64 *)&r->bytes[in_window(offset)];
		second_header = (const __u64 *)&r->bytes[in_window(offset + second)];
		if (i >= room ||
			(b[0] ^ first) | ((b[1] ^ more) & more_mask) | ((b[2] ^ most) & most_mask) |
				((*second_header ^ header) & header_mask))
			break;
		offset += length;
	}
	if (r->run_count + i > 0xffff)
		return 0;
	r->run_count += i;
	r->position = r->begun = r->window_start + offset;
	return 0;
}

/* A whole small command, and some of those behind it that have its shape; 0 as above. */
static __always_inline int whole_run(struct request_reader *r, __u32 offset, __u32 available)
{
	struct resp_shape shape;

	if (!whole_command(r, offset, available, &shape))
		return 0;
	if (shape.head && r->position < r->end && next_begins_alike(r, offset))
		resp_pass_repeated(r, offset, shape.head, shape.second);
	return 1;
}

#endif
