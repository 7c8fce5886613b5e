/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* RESP request framing: follows one connection's byte stream and reports which commands each receive completed.
 *
 * The stream is cut anywhere by receives, so what spans two of them is kept in struct request_stream (one for each
 * connection); struct request_reader is scratch (one for each CPU). User memory is read through a window of 4 KiB.
 * One bpf_loop step takes one unit: a whole small command where it lies inside the window (fast path), otherwise one
 * header, or the name, or one byte of an inline command. The bytes of arguments are passed over by arithmetic, unread.
 *
 * Limits: names up to 64 bytes (longer ones count as `other`); 65,536 units in one receive.
 * Request format: https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 * The file is plain C over five things that the including file provides, so that it also compiles for user space, where
 * it is fuzzed: bpf_probe_read_user, bpf_loop, barrier_var, and the functions declared in request_reader.bpf.h.
 */
#ifndef KILN_RESP_BPF_H
#define KILN_RESP_BPF_H

#include "common/bpf.h"
#include "protocols/redis/resp_whole.bpf.h"

/* ---- one unit ---------------------------------------------------------------------------------------------- */

static __always_inline int fail(struct request_stream *s)
{
	s->state = STREAM_FAILED;
	return 1;
}

static __always_inline int give_up(struct request_stream *s)
{
	s->state = STREAM_LOST;
	return 1;
}

#define RESP_HEADER_NEGATIVE 0x80

/* Any header: number << 8 | its length, RESP_HEADER_NEGATIVE set for a negative number; 0: cut off; -1: not one.
 * The longest that makes sense is "*2147483648\r\n". */
__noinline long resp_long_header(struct request_reader *r, __u32 offset, __u32 available)
{
	__u64 number = 0;
	__u32 negative = 0, i;

	if (!r)
		return -1;
	for (i = 1; i < 14; i++) {
		__u8 byte;

		if (i >= available)
			return 0;
		byte = r->bytes[in_window(offset + i)];
		if (byte == '\r') {
			if (i == 1 + (negative ? 1 : 0))
				return -1;
			if (i + 2 > available)
				return 0;
			return (long)(number << 8 | negative | (i + 2));
		}
		if (byte == '-' && i == 1) {
			negative = RESP_HEADER_NEGATIVE;
			continue;
		}
		if (byte < '0' || byte > '9')
			return -1;
		number = number * 10 + (byte - '0');
	}
	return -1;
}

/* One byte of an inline command; 1: stop. Quotes around a name do not belong to it. */
__noinline int resp_inline(struct request_reader *r, struct request_stream *s)
{
	__u8 byte, space;

	if (!r || !s)
		return 1;
	byte = r->bytes[in_window(r->position - r->window_start)];
	space = byte == ' ' || (byte >= '\t' && byte <= '\r');
	r->position++;
	if (s->state == RESP_START) {
		s->state = RESP_INLINE_NAME;
		s->inline_length = 0;
		__builtin_memset(s->inline_name, 0, sizeof s->inline_name);
	}
	if (s->state == RESP_INLINE_NAME) {
		__u32 length = s->inline_length;

		if (!space) {
			if (byte < ' ' || byte > '~')
				return fail(s);
			if (byte == '"' || byte == '\'')
				return 0;
			if (length < KILN_COMMAND_NAME_MAX) {
				barrier_var(length);
				s->inline_name[length & (KILN_COMMAND_NAME_MAX - 1)] = byte;
			}
			if (length <= KILN_COMMAND_NAME_MAX)
				s->inline_length = length + 1;
			return 0;
		}
		if (length) {
			s->command = length > KILN_COMMAND_NAME_MAX ? name_too_long(r) : name_at(r, s->inline_name, length);
			s->state = RESP_INLINE_REST;
		}
	}
	if (byte == '\n') {
		if (s->state == RESP_INLINE_REST)
			complete_request(r, s->command);
		r->begun = r->position;
		s->state = RESP_START;
	}
	return 0;
}

/* The current argument's bytes start at `position` and are `length` long with CR LF: pass over what is here. */
static __always_inline int pass(struct request_reader *r, struct request_stream *s, __u32 position, __u64 length)
{
	__u32 here = r->end - position;

	s->state = RESP_ARGUMENT;
	if (length > here) {
		s->skip = length - here;
		r->position = r->end;
		return 1;
	}
	r->position = position + (__u32)length;
	if (--s->arguments == 0) {
		complete_request(r, s->command);
		s->state = RESP_START;
	}
	return 0;
}

static __always_inline void copy_carry(__u8 *to, const __u8 *from)
{
	__u64 *words = (__u64 *)to;

	for (__u32 i = 0; i < REQUEST_CARRY / 8; i++)
		words[i] = word_at(from + i * 8);
}

/* The unit at the position is cut: by the window (read on from it) or by the end of the receive (carry it over). */
static __always_inline int cut_unit(struct request_reader *r, struct request_stream *s)
{
	__u32 offset = r->position - r->window_start, available = r->window_length - offset;

	if (r->window_start + r->window_length < r->end) {
		if (offset == 0)
			return fail(s);
		return read_next_window(r) ? give_up(s) : 0;
	}
	if (available >= REQUEST_CARRY)
		return fail(s);
	offset = in_window(offset);
	copy_carry(s->carry, &r->bytes[offset]);
	s->carry_length = available;
	r->position = r->end;
	return 1;
}

/* A header at `offset`, whatever its length: 1 and its number, 0: cut off, -1: not one. */
static __always_inline int header_at(struct request_reader *r, __u32 offset, __u32 available, __u64 *number, __u32 *length, __u32 *negative)
{
	long header;

	*negative = 0;
	*length = short_header(&r->bytes[offset], available, number);
	if (*length)
		return 1;
	header = resp_long_header(r, offset, available);
	if (header <= 0)
		return header < 0 ? -1 : 0;
	*length = header & (RESP_HEADER_NEGATIVE - 1);
	*negative = header & RESP_HEADER_NEGATIVE;
	*number = (__u64)header >> 8;
	return 1;
}

/* "$<length>\r\n<name>": the name decides the row. */
static __always_inline int name_unit(struct request_reader *r, struct request_stream *s, __u32 offset, __u32 available)
{
	__u64 number;
	__u32 header, negative;
	int found;

	if (r->bytes[offset] != '$')
		return fail(s);
	found = header_at(r, offset, available, &number, &header, &negative);
	if (found == 0)
		return cut_unit(r, s);
	if (found < 0 || negative || number > RESP_BULK_MAX)
		return fail(s);
	if (number > KILN_COMMAND_NAME_MAX) {
		s->command = name_too_long(r);
	} else {
		if (header + number > available)
			return cut_unit(r, s);
		offset += header;
		barrier_var(offset);
		if (offset > WINDOW_BYTES)
			return fail(s);
		s->command = name_at(r, &r->bytes[offset], number);
		if (is_special(r, s->command))
			s->command = command_variant(r, s->command, offset + (__u32)number + 2);
	}
	return pass(r, s, r->position + header, number + 2);
}

/* One unit; 1: stop. */
static __always_inline int step(struct request_reader *r, struct request_stream *s)
{
	__u32 offset, available, header, negative;
	__u64 number;
	int found;

	if (r->position >= r->end)
		return 1;
	offset = r->position - r->window_start;
	if (offset >= r->window_length) {
		if (read_next_window(r))
			return give_up(s);
		offset = 0;
	}
	available = r->window_length - offset;
	offset = in_window(offset);
	switch (s->state) {
	case RESP_START:
		if (whole_run(r, offset, available))
			return r->position >= r->end;
		if (r->bytes[offset] != '*')
			return resp_inline(r, s);
		found = header_at(r, offset, available, &number, &header, &negative);
		if (found == 0)
			return cut_unit(r, s);
		if (found < 0 || number >= RESP_ARGUMENTS_MAX)
			return fail(s);
		r->position += header;
		if (number && !negative) { /* "*0" and "*-1" are requests for nothing */
			s->arguments = number;
			s->state = RESP_NAME;
		} else {
			r->begun = r->position;
		}
		return 0;
	case RESP_NAME:
		return name_unit(r, s, offset, available);
	case RESP_ARGUMENT:
		if (r->bytes[offset] != '$')
			return fail(s);
		found = header_at(r, offset, available, &number, &header, &negative);
		if (found == 0)
			return cut_unit(r, s);
		if (found < 0 || negative || number > RESP_BULK_MAX)
			return fail(s);
		return pass(r, s, r->position + header, number + 2);
	case RESP_INLINE_NAME:
	case RESP_INLINE_REST:
		return resp_inline(r, s);
	}
	return 1;
}

/* ---- one receive ------------------------------------------------------------------------------------------- */

struct resp_step_context {
	struct request_reader *reader;
	struct request_stream *stream;
};

static long resp_step(__u32 index, struct resp_step_context *context)
{
	int stop = step(context->reader, context->stream);

	barrier_var(stop); /* keeps clang from assuming 0 or 1 where the verifier can't see it */
	return stop ? 1 : 0;
}

static __always_inline void restart_requests(struct request_stream *s)
{
	s->state = RESP_START;
	s->carry_length = 0;
	s->skip = 0;
	s->arguments = 0;
	s->begun = 0;
}

/* At a request boundary: all bytes so far belong to complete requests. */
static __always_inline bool requests_at_boundary(const struct request_stream *s)
{
	return s->state == RESP_START && !s->carry_length;
}

/* Follow the receive that was begun. The commands completed are afterwards in the reader: the first `runs_noted` of `runs`,
 * then the run that goes on. A stream that can't be followed further is left in STREAM_FAILED or STREAM_LOST.
 *
 * Global functions (not static) are verified once, by themselves. */
__noinline int read_requests(struct request_reader *r, struct request_stream *s)
{
	struct resp_step_context context = { r, s };

	if (!r || !s)
		return 0;
	bpf_loop(r->end < RESP_STEPS_MAX ? r->end : RESP_STEPS_MAX, resp_step, &context, 0);
	if (r->position < r->end && s->state < STREAM_FAILED) {
		lose(KILN_LOST_RECEIVE_STEPS_EXCEEDED, 1);
		give_up(s);
	}
	s->begun = r->end - r->begun;
	return 0;
}

/* A receive of `length` bytes at the user address `buffer`, of a stream at a request boundary. READ_ONE_RUN: it was one
 * small command, or a few alike, which are now the reader's run; no state of the stream was needed. READ_MORE: read_requests() goes on. */
__noinline int read_run(struct request_reader *r, __u64 buffer, __u32 length)
{
	if (!r)
		return READ_UNREADABLE;
	start_receive(r, buffer, length, 0);
	if (read_window(r))
		return READ_UNREADABLE;
	return whole_run(r, 0, r->window_length) && r->position >= r->end ? READ_ONE_RUN : READ_MORE;
}

/* `length` bytes at the user address `buffer`, of a stream in the middle of a request: a receive, after start_commands(), or another
 * piece of it. What is left of them read_requests() follows; the two are not nested, for the sake of the stack. */
__noinline int resume_piece(struct request_reader *r, struct request_stream *s, __u64 buffer, __u32 length)
{
	__u32 carried;

	if (!r || !s)
		return 0;
	carried = s->carry_length;
	start_piece(r, buffer, length, carried);
	r->begun = carried - (__u32)s->begun;
	if (s->skip >= length && s->skip) { /* the whole receive lies inside an argument, or just ends it */
		r->position = length;
		s->skip -= length;
		if (!s->skip && --s->arguments == 0) {
			complete_request(r, s->command);
			s->state = RESP_START;
		}
		return 0;
	}
	if (carried) {
		copy_carry(r->bytes, s->carry);
		s->carry_length = 0;
		if (length > WINDOW_BYTES - REQUEST_CARRY)
			length = WINDOW_BYTES - REQUEST_CARRY;
		barrier_var(carried);
		carried &= REQUEST_CARRY - 1;
		barrier_var(length);
		if (length > WINDOW_BYTES - REQUEST_CARRY)
			return 0;
		if (bpf_probe_read_user(r->bytes + carried, length, (void *)buffer)) {
			lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
			give_up(s);
			return 0;
		}
		r->window_length = carried + length;
	} else if (s->skip) {
		r->position = s->skip;
		s->skip = 0;
		if (--s->arguments == 0) {
			complete_request(r, s->command);
			s->state = RESP_START;
		}
	}
	return 0;
}

/* A receive of `length` bytes at the user address `buffer`, of a stream in the middle of a request. */
static __always_inline void resume_receive(struct request_reader *r, struct request_stream *s, __u64 buffer, __u32 length)
{
	start_commands(r);
	resume_piece(r, s, buffer, length);
}

#endif
