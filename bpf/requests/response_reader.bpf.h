/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a protocol's scanner reads responses with, and what it reports: struct response_reader, one for each CPU. A scanner reports responses
 * that are complete, errors, and what was sent unsolicited (a push); it calls note_size() and its neighbours at the end of each. */
#ifndef KILN_RESPONSE_READER_BPF_H
#define KILN_RESPONSE_READER_BPF_H

#include "common/bpf.h"
#include "requests/request_reader.bpf.h"

#define ERRORS_MAX 128 /* errors in one send that are listed; a power of two */

/* An error, and how many other replies were completed in the same send since the error before, or the send's beginning. */
struct response_error {
	__u32 replies_before;
	__u32 nested; /* it is an element of a reply that goes on; otherwise a reply by itself */
	__u8 word[KILN_ERROR_WORD_MAX];
};

#define ANSWERED_BATCHES 32 /* as many as a connection has in flight: PIPELINE_BATCHES */

/* Calls of one receive. */
struct answered_batch {
	__u64 received_ns;
	__u32 row; /* of the first one */
	__u32 verdict;
};

/* Scratch, one for each CPU. */
struct response_reader {
	__u64 address; /* user address of offset 0 */
	__u32 position, end;
	__u32 window_start, window_length;
	__u32 replies; /* completed in this send since the last error */
	__u32 errors_listed;
	__u32 pushes;            /* seen in this send */
	__u32 begun;             /* where in this piece the current reply begins; 0 if before it */
	__u32 ended;             /* replies that ended in this send, errors among them */
	__u32 answered;          /* of them, those that have been matched */
	__u32 largest_at;        /* which of them is the largest */
	__u64 largest;           /* its bytes */
	__u32 lists;             /* where each reply lies has to be known */
	__u32 passed_largest;    /* what pass_elements() knows of those that it has passed: the length of the largest, and */
	__u32 passed_largest_at; /* which it is; in memory, where it is any number for the verifier, not one for each way to it */
	__u32 answered_row;      /* of the pipeline's requests that are answered: their row, or KILN_LABEL_SEVERAL */
	__u32 reserved;
	__u64 answered_received_ns; /* of the first one */
	__u64 blocked_ns;           /* from the return of a reply's first send to that of this one, which ends it */
	__u64 batches_answered;     /* receives of which this send has answered calls, where stacks have labels (work/judging.bpf.h) */
	struct answered_batch batches[ANSWERED_BATCHES];
	struct response_stream stream; /* of a send that begins at a boundary */
	struct response_error errors[ERRORS_MAX];
	__u8 bytes[WINDOW_BYTES + WINDOW_SLACK];
};

/* To be provided: whether the replies of this send are listed each by itself, and then where a piece of it begins and ends, and that
 * a reply ends at the position. */
enum { LIST_RESPONSE, LIST_ERROR, LIST_PUSH };
static bool responses_are_listed(const struct response_reader *r);
static void begin_piece(const struct response_reader *r);
static void end_piece(const struct response_reader *r);
static void note_response(struct response_reader *r, __u32 kind);

/* A send is read next. */
static __always_inline void start_responses(struct response_reader *r)
{
	r->replies = 0;
	r->errors_listed = 0;
	r->pushes = 0;
	r->ended = r->answered = r->largest_at = 0;
	r->largest = 0;
	r->blocked_ns = 0;
}

/* `count` replies are behind us, of which the last ends at `end`; that number `at` among them is the largest, of `bytes`. */
static __always_inline void note_sizes(struct response_reader *r, struct response_stream *s, __u32 end, __u32 count, __u32 at, __u64 bytes)
{
	if (bytes > r->largest) {
		r->largest = bytes;
		r->largest_at = r->ended + at;
	}
	r->ended += count;
	r->begun = end;
	s->before = 0;
}

static __always_inline void note_size(struct response_reader *r, struct response_stream *s)
{
	note_sizes(r, s, r->position, 1, 0, s->before + (r->position - r->begun));
}

/* A send, or a piece of it, of `length` bytes at the user address `buffer` is read next. */
static __always_inline void start_response_piece(struct response_reader *r, __u64 buffer, __u32 length)
{
	r->address = buffer;
	r->position = 0;
	r->end = length;
	r->window_start = 0;
	r->window_length = 0;
	r->begun = 0;
}

/* The next window of it; -1: unreadable. */
__noinline int read_next_responses(struct response_reader *r)
{
	__u32 length;

	if (!r)
		return -1;
	length = r->end - r->position;
	barrier_var(length);
	if (length > WINDOW_BYTES)
		length = WINDOW_BYTES;
	r->window_start = r->position;
	r->window_length = length;
	return bpf_probe_read_user(r->bytes, length, (void *)(r->address + r->position)) ? -1 : 0;
}

#endif
