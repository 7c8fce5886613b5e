/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A protocol for tests: a line in is a request, whose first word is the command; a line out is its response. */
#ifndef TOY_STATE_BPF_H
#define TOY_STATE_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"
#include "include/kiln_work.h"
#include "requests/stream.h"

#define MAY_GET_NO_RESPONSE 0
#define MAY_GET_UNSOLICITED 0

struct request_stream {
	__u64 begun;   /* bytes of the current line that came in earlier receives */
	__u32 command; /* its row; 0: the word is not complete */
	__u8 state;    /* 0, or enum stream_end */
	__u8 length;   /* of the word so far */
	__u8 reserved[2];
	__u8 word[KILN_COMMAND_NAME_MAX];
};

/* The row of the request that is being received, or KILN_LABEL_SEVERAL: its name is not whole. */
static __always_inline __u32 command_begun(const struct request_stream *s)
{
	return s->command ? s->command : KILN_LABEL_SEVERAL;
}

struct response_stream {
	__u64 before; /* likewise, of sends */
	__u8 state;
	__u8 inside; /* a line has begun */
	__u8 reserved[6];
};

#endif
