/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef TOY_SCANNER_BPF_H
#define TOY_SCANNER_BPF_H

#include "common/bpf.h"
#include "requests/response_reader.bpf.h"

struct toy_requests {
	struct request_reader *reader;
	struct request_stream *stream;
};

static long read_request_byte(__u32 index, struct toy_requests *context)
{
	struct request_reader *r = context->reader;
	struct request_stream *s = context->stream;
	__u32 length = s->length;
	__u8 byte;

	if (r->position >= r->end)
		return 1;
	if (r->position - r->window_start >= r->window_length && read_next_window(r)) {
		s->state = STREAM_LOST;
		return 1;
	}
	byte = r->bytes[in_window(r->position - r->window_start)];
	r->position++;
	if (byte > ' ') {
		barrier_var(length);
		if (!s->command && length < KILN_COMMAND_NAME_MAX) {
			s->word[length & (KILN_COMMAND_NAME_MAX - 1)] = byte;
			s->length = length + 1;
		}
		return 0;
	}
	if (!s->command && length)
		s->command = name_at(r, s->word, length);
	if (byte == '\n') {
		complete_request(r, s->command);
		__builtin_memset(s, 0, sizeof *s);
	}
	return 0;
}

static __always_inline void restart_requests(struct request_stream *s)
{
	__builtin_memset(s, 0, sizeof *s);
}

static __always_inline bool requests_at_boundary(const struct request_stream *s)
{
	return !s->begun && !s->state;
}

__noinline int read_requests(struct request_reader *r, struct request_stream *s)
{
	struct toy_requests context = { r, s };

	if (!r || !s)
		return 0;
	bpf_loop(r->end, read_request_byte, &context, 0);
	s->begun = r->end - r->begun;
	return 0;
}

static __always_inline enum read_outcome read_run(struct request_reader *r, __u64 buffer, __u32 length)
{
	start_receive(r, buffer, length, 0);
	return READ_MORE;
}

static __always_inline void resume_piece(struct request_reader *r, struct request_stream *s, __u64 buffer, __u32 length)
{
	start_piece(r, buffer, length, 0);
	r->begun = -(__u32)s->begun;
}

static __always_inline void resume_receive(struct request_reader *r, struct request_stream *s, __u64 buffer, __u32 length)
{
	start_commands(r);
	resume_piece(r, s, buffer, length);
}

struct toy_responses {
	struct response_reader *reader;
	struct response_stream *stream;
};

static long read_response_byte(__u32 index, struct toy_responses *context)
{
	struct response_reader *r = context->reader;
	struct response_stream *s = context->stream;

	if (r->position >= r->end)
		return 1;
	if (r->position - r->window_start >= r->window_length && read_next_responses(r)) {
		s->state = STREAM_FAILED;
		return 1;
	}
	s->inside = r->bytes[in_window(r->position - r->window_start)] != '\n';
	r->position++;
	if (!s->inside) {
		r->replies++;
		note_size(r, s);
	}
	return 0;
}

__noinline int read_responses(struct response_reader *r, struct response_stream *s, __u64 buffer, __u32 length)
{
	struct toy_responses context = { r, s };

	if (!r || !s)
		return 0;
	start_response_piece(r, buffer, length);
	bpf_loop(length, read_response_byte, &context, 0);
	s->before += length - r->begun;
	return 0;
}

static __always_inline bool responses_at_boundary(const struct response_stream *s)
{
	return !s->inside && !s->state;
}

/* Longer ones are read. */
static __always_inline bool is_one_response(const __u8 *b, __u32 sent)
{
	return sent == 3 && b[0] == 'o' && b[1] == 'k' && b[2] == '\n';
}

static __always_inline bool in_unsolicited(const struct response_stream *s)
{
	return false;
}

static __always_inline bool is_other_protocol(const struct response_stream *s)
{
	return false;
}

#endif
