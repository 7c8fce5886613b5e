/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How RESP is read: requests (resp.bpf.h) and replies (replies.bpf.h). A protocol's scanner offers, for requests:
 *
 *   read_run()              a receive that begins at a boundary: alone if it is one run of small requests
 *   read_requests()         the rest of it, or of one that was begun by
 *   resume_receive()        a receive that begins inside a request, or resume_piece(), a piece of it
 *   restart_requests()      the stream begins anew
 *   requests_at_boundary()  all bytes so far belong to complete requests
 *
 * and for responses:
 *
 *   read_responses()        a send, or a piece of it
 *   responses_at_boundary() likewise
 *   is_one_response()       a small send is one response, whole and no error: asked before all else
 *   in_unsolicited()        the stream is inside something that no request asked for
 *   is_other_protocol()     the stream failed because it is of another protocol */
#ifndef KILN_REDIS_SCANNER_BPF_H
#define KILN_REDIS_SCANNER_BPF_H

#include "common/bpf.h"
#include "protocols/redis/replies.bpf.h"
#include "protocols/redis/resp.bpf.h"

static __always_inline bool in_unsolicited(const struct response_stream *s)
{
	return s->push;
}

/* Where a stream failed: whether at a byte that is no element's type. */
static __always_inline bool is_other_protocol(const struct response_stream *s)
{
	switch (s->type) {
	case 0:
	case '>':
	case '-':
	case '$':
	case '=':
	case '!':
	case '*':
	case '~':
	case '%':
	case '|':
	case '+':
	case ':':
	case '_':
	case '#':
	case ',':
	case '(':
		return false;
	}
	return s->state == STREAM_FAILED;
}

/* A send whose first 16 bytes are in `b` (0 behind its end): it is one whole reply, and no error. */
static __always_inline bool is_one_response(const __u8 *b, __u32 sent)
{
	__u64 number;
	__u32 length;

	switch (b[0]) {
	case '$':
		length = short_header(b, 8, &number);
		if (length)
			return length + number + 2 == sent;
		return sent == 5 && b[1] == '-' && b[2] == '1';
	case '+':
	case ':':
		length = short_line(b, 8);
		if (!length && (length = short_line(b + 8, 8)))
			length += 8;
		return length == sent;
	}
	return false;
}

#endif
