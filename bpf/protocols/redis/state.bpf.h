/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a connection keeps of RESP: the middle of a request, or of a reply. */
#ifndef KILN_REDIS_STATE_BPF_H
#define KILN_REDIS_STATE_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"
#include "include/kiln_work.h"
#include "requests/stream.h"

/* Flags of the connection. */
#define REPLIES_OFF PROTOCOL_FLAG_0 /* CLIENT REPLY OFF */
#define SKIPS_REPLY PROTOCOL_FLAG_1 /* CLIENT REPLY SKIP: the next command has no reply */
#define RESP3 PROTOCOL_FLAG_2
#define QUEUES PROTOCOL_FLAG_3 /* MULTI was read, and not EXEC yet */
/* As every protocol names them. */
#define MAY_GET_NO_RESPONSE (REPLIES_OFF | SKIPS_REPLY)
#define MAY_GET_UNSOLICITED RESP3

#define REQUEST_CARRY 128 /* an incomplete header with its name is shorter; a power of two */

enum resp_state {
	RESP_START,    /* at a request boundary, unless a unit is carried */
	RESP_NAME,     /* the command's name is next */
	RESP_ARGUMENT, /* another argument is next, or `skip` bytes of the current one */
	RESP_INLINE_NAME,
	RESP_INLINE_REST,
};

/* What a connection's stream is in the middle of. */
struct request_stream {
	__u64 skip;      /* bytes of the current argument, its CR LF included, still to come */
	__u32 arguments; /* arguments not yet complete, the current one included */
	__u32 command;   /* row of the command being received */
	__u8 state;
	__u8 carry_length;
	__u8 inline_length;
	__u8 reserved[5];
	__u64 begun; /* bytes of the current request that came in earlier receives */
	__u8 inline_name[KILN_COMMAND_NAME_MAX];
	__u8 carry[REQUEST_CARRY]; /* the incomplete unit that ended the last receive */
};

/* The row of the request that is being received, or KILN_LABEL_SEVERAL: its name is not whole. */
static __always_inline __u32 command_begun(const struct request_stream *s)
{
	return s->state == RESP_ARGUMENT || s->state == RESP_INLINE_REST ? s->command : KILN_LABEL_SEVERAL;
}

enum reply_state {
	REPLY_ELEMENT, /* an element's type is next */
	REPLY_NUMBER,  /* inside the number of a bulk or an aggregate */
	REPLY_LINE,    /* inside a line that ends with LF */
	REPLY_BULK,    /* `skip` bytes of a bulk are still to come */
};

/* What a connection's replies are in the middle of. Zero: at a reply's start. */
struct response_stream {
	__u64 skip;        /* bytes of the current bulk, its CR LF included, still to come */
	__u64 number;      /* digits of the current header so far */
	__u64 outstanding; /* elements until the reply is whole; 0: at its start */
	__u64 before;      /* bytes of the current reply before the piece that is followed */
	__u8 state;
	__u8 type; /* of the current element */
	__u8 negative;
	__u8 push; /* the outstanding elements are of a push */
	__u8 word_length;
	__u8 word_ended;
	__u8 reserved[2];
	__u8 word[KILN_ERROR_WORD_MAX]; /* the first word of an error */
};

static __always_inline bool responses_at_boundary(const struct response_stream *s)
{
	return s->state == REPLY_ELEMENT && !s->outstanding;
}

#endif
