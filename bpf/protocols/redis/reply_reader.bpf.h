/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the reply scanner keeps: struct reply_stream for a connection, struct reply_reader for a CPU, with the replies that a send
 * completed, how large they are, and which are errors. replies.bpf.h follows the bytes. */
#ifndef KILN_REPLY_READER_BPF_H
#define KILN_REPLY_READER_BPF_H

#include "common/bpf.h"
#include "protocols/redis/resp.bpf.h"

#define REPLY_ERRORS_MAX 128              /* errors in one send that are told apart; a power of two */

enum reply_state {
	REPLY_ELEMENT,                    /* an element's type is next */
	REPLY_NUMBER,                     /* inside the number of a bulk or an aggregate */
	REPLY_LINE,                       /* inside a line that ends with LF */
	REPLY_BULK,                       /* `skip` bytes of a bulk are still to come */
	REPLY_FAILED,                     /* not RESP from here on, or could not be read */
};

/* What a connection's replies are in the middle of. Zero: at a reply's start. */
struct reply_stream {
	__u64 skip;                       /* bytes of the current bulk, its CR LF included, still to come */
	__u64 number;                     /* digits of the current header so far */
	__u64 outstanding;                /* elements until the reply is whole; 0: at its start */
	__u64 before;                     /* bytes of the current reply before the piece that is followed */
	__u8 state;
	__u8 type;                        /* of the current element */
	__u8 negative;
	__u8 push;                        /* the outstanding elements are of a push */
	__u8 word_length;
	__u8 word_ended;
	__u8 reserved[2];
	__u8 word[KILN_ERROR_WORD_MAX];   /* the first word of an error */
};

/* An error, and how many other replies were completed in the same send since the error before, or the send's beginning. */
struct reply_error {
	__u32 replies_before;
	__u32 nested;                     /* it is an element of a reply that goes on; otherwise a reply by itself */
	__u8 word[KILN_ERROR_WORD_MAX];
};

/* Scratch, one for each CPU. */
struct reply_reader {
	__u64 address;                    /* user address of offset 0 */
	__u32 position, end;
	__u32 window_start, window_length;
	__u32 replies;                    /* completed in this send since the last error */
	__u32 errors_listed;
	__u32 pushes;                     /* seen in this send */
	__u32 begun;                      /* where in this piece the current reply begins; 0 if before it */
	__u32 ended;                      /* replies that ended in this send, errors among them */
	__u32 answered;                   /* of them, those that have been paired */
	__u32 largest_at;                 /* which of them is the largest */
	__u64 largest;                    /* its bytes */
	__u32 apart;                      /* where each reply lies has to be known */
	__u32 passed_largest;             /* what pass_elements() knows of those that it has passed: the length of the largest, and */
	__u32 passed_largest_at;          /* which it is; in memory, where it is any number for the verifier, not one for each way to it */
	struct reply_stream stream;       /* of a send that begins at a boundary */
	struct reply_error errors[REPLY_ERRORS_MAX];
	__u8 bytes[RESP_WINDOW + RESP_SLACK];
};

/* To be provided: whether the replies of this send are listed each by itself, and then where a piece of it begins and ends, and that
 * a reply ends at the position. */
enum { LIST_REPLY, LIST_ERROR, LIST_PUSH };
static bool replies_apart(const struct reply_reader *r);
static void begin_piece(const struct reply_reader *r);
static void end_piece(const struct reply_reader *r);
static void note_reply(struct reply_reader *r, __u32 kind);

static __always_inline bool replies_at_boundary(const struct reply_stream *s)
{
	return s->state == REPLY_ELEMENT && !s->outstanding;
}

/* `count` replies are behind us, of which the last ends at `end`; that number `at` among them is the largest, of `bytes`. */
static __always_inline void note_sizes(struct reply_reader *r, struct reply_stream *s, __u32 end, __u32 count, __u32 at, __u64 bytes)
{
	if (bytes > r->largest) {
		r->largest = bytes;
		r->largest_at = r->ended + at;
	}
	r->ended += count;
	r->begun = end;
	s->before = 0;
}

static __always_inline void note_size(struct reply_reader *r, struct reply_stream *s)
{
	note_sizes(r, s, r->position, 1, 0, s->before + (r->position - r->begun));
}

#endif
