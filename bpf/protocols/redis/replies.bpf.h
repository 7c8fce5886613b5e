/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* RESP reply framing: follows the bytes that a server sends on one connection and reports which replies each send completed,
 * and which of them are errors.
 *
 * A reply is whole when as many elements have passed as its arrays, maps, sets and attributes announced; what is nested
 * need not be known, only how many elements are outstanding. RESP3 pushes are counted apart: no request asked for them.
 * One bpf_loop step takes one element that lies inside the window, or up to 32 bytes of a line; bulks are passed over by
 * arithmetic, unread. An element may be cut anywhere: what is known of it is kept in struct response_stream.
 *
 * Reply format: https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 * Plain C over what resp.bpf.h needs too, so that it also compiles for user space, where it is fuzzed. */
#ifndef KILN_REPLIES_BPF_H
#define KILN_REPLIES_BPF_H

#include "common/bpf.h"
#include "protocols/redis/resp.bpf.h"
#include "requests/response_reader.bpf.h"

#define SIZES_AT_ONCE 16 /* elements of other lengths than those before, of one call */
#define ALIKE_AT_ONCE 32
#define ELEMENTS_AT_ONCE (SIZES_AT_ONCE * (ALIKE_AT_ONCE + 1))
#define NULL_BULK 0x0a0d312d24ULL /* "$-1" CR LF */
#define REPLY_LINE_BYTES 32       /* of a line passed over in one step */
#define REPLY_STEPS_MAX 65536     /* a send of 64 KiB, Redis's largest, has at most 22,000 elements */

/* An element that counts as one is behind us. */
static __always_inline void element_ended(struct response_reader *r, struct response_stream *s)
{
	bool nested = s->outstanding != 0;

	s->state = REPLY_ELEMENT;
	if (s->outstanding > 1) {
		s->outstanding--;
		return;
	}
	s->outstanding = 0;
	if (responses_are_listed(r))
		note_response(r, s->push ? LIST_PUSH : s->type == '-' && !nested ? LIST_ERROR : LIST_RESPONSE);
	if (s->push) {
		r->pushes++;
		r->begun = r->position;
		s->before = 0;
	} else {
		r->replies++;
		note_size(r, s);
	}
	s->push = 0;
}

/* The line of an error is behind us: a reply of its own, or an element of one (of EXEC, say). */
static __always_inline void error_ended(struct response_reader *r, struct response_stream *s)
{
	__u32 at = r->errors_listed;
	bool nested = s->outstanding != 0;
	struct response_error *listed;

	if (s->push || at >= ERRORS_MAX) {
		if (!s->push)
			lose(KILN_LOST_ERRORS_WITHOUT_NAME, 1);
		element_ended(r, s);
		return;
	}
	r->errors_listed = at + 1;
	barrier_var(at);
	listed = &r->errors[at & (ERRORS_MAX - 1)];
	listed->replies_before = r->replies;
	listed->nested = nested;
	__builtin_memcpy(listed->word, s->word, sizeof listed->word);
	r->replies = 0;
	if (nested) {
		element_ended(r, s);
	} else {
		s->state = REPLY_ELEMENT;
		note_size(r, s);
		if (responses_are_listed(r))
			note_response(r, LIST_ERROR);
	}
}

/* The number of a bulk or an aggregate is known. */
static __always_inline int number_ended(struct response_reader *r, struct response_stream *s, __u8 type, __u64 number, bool negative)
{
	switch (type) {
	case '$':
	case '=':
	case '!':
		if (negative) /* "$-1": no bytes follow */
			break;
		if (number > RESP_BULK_MAX) {
			s->state = STREAM_FAILED;
			return 1;
		}
		s->skip = number + 2;
		s->state = REPLY_BULK;
		return 0;
	case '%':
	case '|':
		number *= 2;
		break;
	}
	if (type != '$' && type != '=' && type != '!') {
		if (number >= RESP_ARGUMENTS_MAX) {
			s->state = STREAM_FAILED;
			return 1;
		}
		/* An attribute stands before the element that it belongs to, and is none itself. */
		if (type == '|')
			number++;
		if (!negative && number) {
			s->outstanding = (s->outstanding ? s->outstanding - 1 : 0) + number;
			s->state = REPLY_ELEMENT;
			return 0;
		}
	}
	element_ended(r, s);
	return 0;
}

/* The type byte of an element; 1: not one. */
static __always_inline int element_begins(struct response_stream *s, __u8 type)
{
	s->type = type;
	s->number = 0;
	s->negative = 0;
	switch (type) {
	case '>':
		if (s->outstanding)
			break;
		s->push = 1;
		s->state = REPLY_NUMBER;
		return 0;
	case '-':
		s->word_length = 0;
		s->word_ended = 0;
		__builtin_memset(s->word, 0, sizeof s->word);
		s->state = REPLY_LINE;
		return 0;
	case '$':
	case '=':
	case '!': /* a bulk error: servers have none */
	case '*':
	case '~':
	case '%':
	case '|':
		s->state = REPLY_NUMBER;
		return 0;
	case '+':
	case ':':
	case '_':
	case '#':
	case ',':
	case '(':
		s->state = REPLY_LINE;
		return 0;
	}
	s->state = STREAM_FAILED;
	return 1;
}

static __always_inline void error_byte(struct response_stream *s, __u8 byte)
{
	__u32 length = s->word_length;

	if (byte <= ' ') {
		s->word_ended = 1;
		return;
	}
	if (s->word_ended || length >= KILN_ERROR_WORD_MAX)
		return;
	barrier_var(length);
	s->word[length & (KILN_ERROR_WORD_MAX - 1)] = byte;
	s->word_length = length + 1;
}

/* Bytes of a line, up to its LF; its end is the element's. */
__noinline int reply_line(struct response_reader *r, struct response_stream *s)
{
	__u32 i, offset;

	if (!r || !s)
		return 1;
	for (i = 0; i < REPLY_LINE_BYTES; i++) {
		__u8 byte;

		offset = r->position - r->window_start;
		if (offset >= r->window_length)
			return 0;
		byte = r->bytes[in_window(offset)];
		r->position++;
		if (byte == '\n') {
			if (s->type == '-')
				error_ended(r, s);
			else
				element_ended(r, s);
			return 0;
		}
		if (s->type == '-')
			error_byte(s, byte);
	}
	return 0;
}

/* A byte of a number. */
__noinline int reply_number(struct response_reader *r, struct response_stream *s)
{
	__u8 byte;

	if (!r || !s)
		return 1;
	byte = r->bytes[in_window(r->position - r->window_start)];
	r->position++;
	if (byte == '\n')
		return number_ended(r, s, s->type, s->number, s->negative);
	if (byte == '\r')
		return 0;
	if (byte == '-') {
		s->negative = 1;
		return 0;
	}
	if (byte < '0' || byte > '9' || s->number >= RESP_ARGUMENTS_MAX) {
		s->state = STREAM_FAILED; /* streamed strings and aggregates ("$?") among them: no server sends them */
		return 1;
	}
	s->number = s->number * 10 + (byte - '0');
	return 0;
}

/* The length of a line of up to 8 bytes, its LF included; 0: look closer. */
static __always_inline __u32 short_line(const __u8 *b, __u32 available)
{
	__u64 x = *(const __u64 *)b ^ 0x0a0a0a0a0a0a0a0aULL;
	__u64 found = (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL; /* the lowest bit set is right */

	if (available < 8 || !found)
		return 0;
	found &= -found;
	/* 0x80 << 8 * i: a multiplication gathers i + 1. */
	return (__u32)(((found - 1) & 0x0101010101010101ULL) * 0x0101010101010101ULL >> 56);
}

/* The length of a small element at `offset` that is neither an aggregate nor an error, header and all, << 8 | the length of the bytes that show
 * it; 0: look closer. Global, so that the verifier follows it once. */
__noinline __u32 element_length(const struct response_reader *r, __u32 offset)
{
	const __u8 *b;
	__u64 number;
	__u32 header;

	if (!r)
		return 0;
	b = &r->bytes[in_window(offset)];
	switch (*b) {
	case '$':
		if ((*(const __u64 *)b & 0xffffffffffULL) == NULL_BULK)
			return 5 << 8 | 5;
		header = short_header(b, 8, &number);
		return header ? (header + (__u32)number + 2) << 8 | header : 0;
	case '+':
	case ':':
	case '_':
	case '#':
	case ',':
		header = short_line(b, 8);
		return header << 8 | header;
	}
	return 0;
}

/* How many elements behind the one at `offset` begin as it and are as long, `most` of them at most. `length` and `header` are its own.
 * The last one may run past the window, not past the send. */
__noinline __u32 elements_alike(const struct response_reader *r, __u32 offset, __u32 length, __u32 header, __u32 most)
{
	__u64 first, mask;
	__u32 i, last, to_end;

	if (!r || !length)
		return 0;
	first = word_at(&r->bytes[in_window(offset)]);
	mask = first_bytes(~0ULL, header);
	last = r->window_length - header;
	to_end = r->end - r->window_start - length;
	if (last > to_end)
		last = to_end;
	if (most > ALIKE_AT_ONCE)
		most = ALIKE_AT_ONCE;
	for (i = 0; i < ALIKE_AT_ONCE; i++) {
		offset += length;
		if (i >= most || offset > last || (word_at(&r->bytes[in_window(offset)]) ^ first) & mask)
			break;
	}
	return i;
}

/* Small elements one behind the other, which most replies are, without a step for each: how many. */
__noinline int pass_elements(struct response_reader *r, struct response_stream *s)
{
	__u32 position, passed = 0, most, found, length, header, count, i;

	if (!r || !s)
		return 0;
	r->passed_largest = 0;
	position = r->position;
	most = s->outstanding && s->outstanding < ELEMENTS_AT_ONCE ? s->outstanding : ELEMENTS_AT_ONCE;
	for (i = 0; i < SIZES_AT_ONCE; i++) {
		__u32 offset = position - r->window_start;

		if (passed >= most || offset >= r->window_length)
			break;
		/* It may look at what lies behind the window: then the header ends there too. */
		found = element_length(r, offset);
		header = found & 255;
		length = found >> 8;
		if (!length || offset + header > r->window_length || length > r->end - position)
			break;
		if (length > r->passed_largest) {
			r->passed_largest = length;
			r->passed_largest_at = passed;
		}
		count = 1;
		if (!s->outstanding && responses_are_listed(r)) {
			r->position = position + length;
			note_response(r, LIST_RESPONSE);
		} else {
			count += elements_alike(r, offset, length, header, most - passed - 1);
		}
		position += count * length;
		passed += count;
	}
	if (!passed)
		return 0;
	r->position = position;
	if (!s->outstanding) {
		r->replies += passed;
		note_sizes(r, s, position, passed, r->passed_largest_at, r->passed_largest);
	} else {
		/* The last one ends what is outstanding. */
		s->outstanding -= passed - 1;
		element_ended(r, s);
	}
	return passed;
}

/* One element, or a part of it; 1: stop. */
static __always_inline int reply_unit(struct response_reader *r, struct response_stream *s)
{
	__u32 offset, available, header, here;
	__u64 number;
	__u8 type;

	if (r->position >= r->end)
		return 1;
	if (s->state == REPLY_BULK) {
		here = r->end - r->position;
		if (s->skip > here) {
			s->skip -= here;
			r->position = r->end;
			return 1;
		}
		r->position += (__u32)s->skip;
		s->skip = 0;
		element_ended(r, s);
		return r->position >= r->end;
	}
	offset = r->position - r->window_start;
	if (offset >= r->window_length) {
		if (read_next_responses(r)) {
			lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
			s->state = STREAM_FAILED;
			return 1;
		}
		offset = 0;
	}
	available = r->window_length - offset;
	offset = in_window(offset);
	switch (s->state) {
	case REPLY_ELEMENT:
		type = r->bytes[offset];
		if (pass_elements(r, s))
			return r->position >= r->end;
		if (type == '$' || type == '*') {
			header = short_header(&r->bytes[offset], available, &number);
			if (header) {
				r->position += header;
				return number_ended(r, s, type, number, false);
			}
		}
		r->position++;
		return element_begins(s, type);
	case REPLY_NUMBER:
		return reply_number(r, s);
	case REPLY_LINE:
		return reply_line(r, s);
	}
	return 1;
}

struct reply_step_context {
	struct response_reader *reader;
	struct response_stream *stream;
};

static long reply_step(__u32 index, struct reply_step_context *context)
{
	int stop = reply_unit(context->reader, context->stream);

	barrier_var(stop);
	return stop ? 1 : 0;
}

/* Follow a piece of a send. What it completes is added to the reader's. */
__noinline int read_responses(struct response_reader *r, struct response_stream *s, __u64 buffer, __u32 length)
{
	struct reply_step_context context = { r, s };

	if (!r || !s)
		return 0;
	start_response_piece(r, buffer, length);
	begin_piece(r);
	bpf_loop(length < REPLY_STEPS_MAX ? length : REPLY_STEPS_MAX, reply_step, &context, 0);
	if (r->position < r->end && s->state != STREAM_FAILED) {
		lose(KILN_LOST_SEND_STEPS_EXCEEDED, 1);
		s->state = STREAM_FAILED;
	}
	s->before += length - r->begun;
	end_piece(r);
	return 0;
}

#endif
