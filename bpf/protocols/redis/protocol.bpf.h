/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What Redis's protocol expects. A protocol offers, beside its scanner:
 *
 *   begins_request()        a first byte may be a request's, of those that no other protocol begins with
 *   begins_response()       likewise, by the first 16 bytes of a send
 *   begins_other_stream()   a server of this protocol receives this, and it is of another one
 *   responses_expected()    how many of a run's requests get one response each; the connection's state changes with them
 *   is_answered_once()      each request of a class gets one response, unless the connection has MAY_GET_NO_RESPONSE
 *   note_class()            a request of this class was read: does what follows it wait to be executed?
 *   defers_next()           it does
 *   is_deferred()           a request of this class waits to be executed by a later one
 *   restart_expectations()  requests were missed: what they changed is not known
 *   note_unsolicited()      the server sent something that no request asked for */
#ifndef KILN_REDIS_PROTOCOL_BPF_H
#define KILN_REDIS_PROTOCOL_BPF_H

#include "common/bpf.h"
#include "include/kiln_redis.h"
#include "protocols/redis/arguments.bpf.h"
#include "protocols/redis/scanner.bpf.h"
#include "requests/connections.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/unmatched.bpf.h"

/* A request is an array; a plain line may be of any protocol. */
static __always_inline bool begins_request(__u8 first)
{
	return first == '*';
}

/* A line of digits, with its sign, of which up to 16 bytes are here. */
static __always_inline bool begins_as_number(const __u8 *b)
{
	__u32 i;

	for (i = 1; i < 15; i++) {
		if (b[i] == '\r')
			return i > 1 && b[i + 1] == '\n';
		if ((b[i] < '0' || b[i] > '9') && (i > 1 || b[i] != '-'))
			return false;
	}
	return true;
}

/* A type, and behind it what that type has. */
static __always_inline bool begins_response(const __u8 *b)
{
	switch (b[0]) {
	case '$':
	case '*':
	case '~':
	case '%':
	case '>':
	case '|':
	case '=':
	case '!':
	case ':':
	case '(':
		return begins_as_number(b);
	case '+':
	case '-':
		return b[1] > ' ' && b[1] < 0x7f;
	case '_':
		return b[1] == '\r' && b[2] == '\n';
	case '#':
		return (b[1] == 't' || b[1] == 'f') && b[2] == '\r';
	case ',':
		return (b[1] >= '0' && b[1] <= '9') || b[1] == '-' || b[1] == 'i' || b[1] == 'n';
	}
	return false;
}

/* Whether bytes that a server receives begin a message of the cluster bus, on which nodes talk to each other: `RCmb` and the message's length, of which the
 * first byte is zero. No request has a zero there. A node reads these 8 bytes by themselves, or more. */
__noinline int begins_other_stream(__u64 base, __u32 length)
{
	__u64 start = 0;

	if (length < sizeof start || bpf_probe_read_user(&start, sizeof start, (void *)base))
		return false;
	return (start & 0xffffffffff) == ('R' | 'C' << 8 | 'm' << 16 | (__u64)'b' << 24);
}

static __always_inline void note_class(struct connection *x, __u8 class)
{
	if (class == KILN_CLASS_MULTI || class == KILN_CLASS_EXEC)
		change_flags(x, QUEUES, class == KILN_CLASS_MULTI);
}

/* How many of a run's commands get a reply each; the connection's state changes with what they ask for. */
static __always_inline __u32 responses_expected(struct connection *x, __u8 class, __u32 count)
{
	__u32 skipped = 0;

	if (x->flags & SKIPS_REPLY && class != KILN_CLASS_REPLY_SKIP) {
		clear_flags(x, SKIPS_REPLY);
		skipped = 1;
	}
	note_class(x, class);
	switch (class) {
	case KILN_CLASS_REPLY_ON:
		clear_flags(x, REPLIES_OFF | SKIPS_REPLY);
		return count;
	case KILN_CLASS_REPLY_OFF:
		set_flags(x, REPLIES_OFF);
		return 0;
	case KILN_CLASS_REPLY_SKIP:
		if (!(x->flags & REPLIES_OFF))
			set_flags(x, SKIPS_REPLY);
		return 0;
	case KILN_CLASS_HELLO_3:
		set_flags(x, RESP3);
		break;
	case KILN_CLASS_RESET:
		clear_flags(x, REPLIES_OFF | SKIPS_REPLY | RESP3 | QUEUES);
		return count;
	case KILN_CLASS_HELLO_2:
		clear_flags(x, RESP3);
		break;
	case KILN_CLASS_SUBSCRIBING:
		if (x->flags & RESP3) /* pushes answer it */
			return 0;
		on_subscribed(x);
		unmatch(x);
		return 0;
	case KILN_CLASS_STREAMING:
		unmatch(x);
		return 0;
	}
	return x->flags & REPLIES_OFF ? 0 : count - skipped;
}

static __always_inline bool is_answered_once(__u8 class)
{
	return class != KILN_CLASS_UNTIMED && (class <= KILN_CLASS_EXEC || class >= KILN_CLASS_LOOK_AT_CLIENT);
}

/* What is read next is queued by MULTI. */
static __always_inline bool defers_next(const struct connection *x)
{
	return x->flags & QUEUES;
}

static __always_inline bool is_deferred(const struct connection *x, __u8 class)
{
	return x->flags & QUEUES && class != KILN_CLASS_EXEC;
}

static __always_inline void restart_expectations(struct connection *x)
{
	clear_flags(x, QUEUES);
}

/* Only RESP3 has pushes. */
static __always_inline void note_unsolicited(struct connection *x)
{
	set_flags(x, RESP3);
}

#endif
