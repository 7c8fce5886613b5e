/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace's replies: where in a send each of them lies, in the order in which they answer. The bytes are still the server's
 * while the send returns, so only those of records that pass the filters are copied, and those of a reply that goes on. */
#ifndef KILN_TRACE_REPLIES_BPF_H
#define KILN_TRACE_REPLIES_BPF_H

#include "common/bpf.h"
#include "trace/trace_requests.bpf.h"

#define LISTED_REPLIES 512 /* in one send; of more the rest are untraced_commands; a power of two */
#define LISTED_PUSHES 64   /* in one send; a power of two */
#define PIECES_MAX 4       /* iovecs that a reply's first bytes are gathered from */

/* Where bytes of a send begin. */
struct reply_place {
	__u64 address;
	__u64 vector;  /* the iovec behind theirs; 0: none */
	__u32 here;    /* bytes up to the end of their iovec */
	__u32 resumed; /* what they belong to began in an earlier send */
};

struct listed_reply {
	struct reply_place place;
	__u64 bytes; /* in this send */
	__u32 is_error;
	__u32 reserved;
};

struct reply_list {
	__u64 vector;             /* the iovec behind the piece that is being followed; 0: none */
	struct reply_place place; /* of the reply that is being followed */
	__u64 bytes;              /* of it, in the pieces before this one */
	__u32 from;               /* offset in this piece where its part begins */
	__u32 listed;
	__u32 taken; /* replies that have found their requests, listed or not */
	__u32 pushes;
	__u32 errors;
	__u32 unlisted; /* replies that found no room */
	struct listed_reply replies[LISTED_REPLIES];
	struct listed_reply pushed[LISTED_PUSHES];
};

/* Scratch, one for each CPU: the send that is being followed. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reply_list);
} reply_lists SEC(".maps");

static __always_inline struct reply_list *this_list(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&reply_lists, &zero);
}

/* Whether the replies of this send have to be known each by itself. */
static __always_inline bool responses_are_listed(const struct response_reader *r)
{
	return r->lists;
}

/* A send begins; `resumed`: in the middle of a reply. */
static __always_inline void begin_list(bool resumed)
{
	struct reply_list *list = this_list();

	if (!list)
		return;
	list->vector = list->bytes = 0;
	list->listed = list->taken = list->pushes = list->errors = list->unlisted = 0;
	list->place.resumed = resumed;
}

/* A piece of the send is followed next; `vector` is the iovec behind it. */
static __always_inline void set_vector(__u64 vector)
{
	struct reply_list *list = this_list();

	if (list)
		list->vector = vector;
}

/* The next replies answer requests that are not traced. */
static __always_inline void pass_replies(__u32 count)
{
	struct reply_list *list = this_list();

	if (list)
		list->taken += count;
}

static __always_inline void set_place(struct reply_list *list, const struct response_reader *r)
{
	list->place.address = r->address + r->position;
	list->place.vector = list->vector;
	list->place.here = r->end - r->position;
}

static __always_inline void begin_piece(const struct response_reader *r)
{
	struct reply_list *list = responses_are_listed(r) ? this_list() : NULL;

	if (!list)
		return;
	list->from = 0;
	if (!list->bytes)
		set_place(list, r);
}

static __always_inline void end_piece(const struct response_reader *r)
{
	struct reply_list *list = responses_are_listed(r) ? this_list() : NULL;

	if (list)
		list->bytes += r->position - list->from;
}

/* A reply or a push ends at the position. */
__noinline int list_reply(struct response_reader *r, __u32 kind)
{
	struct reply_list *list = this_list();
	struct listed_reply *listed;
	__u32 at;

	if (!r || !list)
		return 0;
	at = kind == LIST_PUSH ? list->pushes : list->listed;
	listed = NULL;
	barrier_var(at);
	if (kind == LIST_PUSH && at >= LISTED_PUSHES) {
		lose(KILN_LOST_UNTRACED_PUSHES, 1);
	} else if (kind == LIST_PUSH) {
		listed = &list->pushed[at & (LISTED_PUSHES - 1)];
		list->pushes = at + 1;
	} else if (at < LISTED_REPLIES) {
		listed = &list->replies[at & (LISTED_REPLIES - 1)];
		list->listed = at + 1;
		list->errors += kind == LIST_ERROR;
	} else {
		list->unlisted++;
	}
	if (listed) {
		listed->place = list->place;
		listed->bytes = list->bytes + r->position - list->from;
		listed->is_error = kind == LIST_ERROR;
	}
	list->bytes = 0;
	list->from = r->position;
	list->place.resumed = 0;
	set_place(list, r);
	return 0;
}

static __always_inline void note_response(struct response_reader *r, __u32 kind)
{
	list_reply(r, kind);
}

/* ---- a reply's bytes ------------------------------------------------------------------------------------------- */

struct trace_scratch {
	__u64 socket;                /* of the current call */
	struct kiln_client_key peer; /* who is at its other end, if that is known already */
	__u16 peer_port;
	__u8 peer_known;
	__u8 unused;
	__u32 fd;
	__u32 first;                  /* sequence of the current receive's first request */
	int kept;                     /* the slot where its requests are captured, coalesced; or NO_ROOM, or NOT_CAPTURED yet */
	__u32 run_first;              /* of the run of requests that was read last: the sequence of its first one */
	__u32 run_begun, run_end;     /* where it lies in the receive */
	__u32 emitting;               /* which of the answered requests */
	__u32 count;                  /* of them */
	int slot;                     /* where they are kept; -1: nowhere */
	int split;                    /* the slot whose requests are in this CPU's reader, each by itself; -1: none */
	struct request_stream stream; /* to split them with */
	struct kiln_trace_record record;
	__u8 slack[KILN_TRACE_REPLIES_BYTES]; /* keeps a copy's end inside, as the verifier sees it */
};

/* Scratch, one for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct trace_scratch);
} trace_scratches SEC(".maps");

static __always_inline struct trace_scratch *this_trace(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&trace_scratches, &zero);
}

/* Add the first of the `bytes` at `place` to the record's reply, until that has `room`. */
__noinline int gather(const struct reply_place *place, __u64 bytes, __u32 room)
{
	struct trace_scratch *t = this_trace();
	struct iovec piece = {};
	__u64 address, vector;
	__u32 here, i;

	if (!place || !t)
		return 0;
	address = place->address;
	vector = place->vector;
	here = place->here;
	for (i = 0; i < PIECES_MAX; i++) {
		__u32 kept = t->record.reply_captured, length = bytes < here ? (__u32)bytes : here, at;

		if (kept >= room)
			break;
		if (length > room - kept)
			length = room - kept;
		at = t->record.request_captured + kept;
		barrier_var(at);
		barrier_var(length);
		if (at > sizeof t->record.bytes || length > KILN_TRACE_REPLIES_BYTES ||
			bpf_probe_read_user(t->record.bytes + at, length, (void *)address))
			return -1;
		t->record.reply_captured = kept + length;
		bytes -= length;
		if (!bytes || !vector)
			break;
		/* Those of a message, as hook fentry sees it, are the kernel's: in the upper half of all addresses. */
		if ((__s64)vector < 0 ? bpf_probe_read_kernel(&piece, sizeof piece, (void *)vector)
				      : bpf_probe_read_user(&piece, sizeof piece, (void *)vector))
			return -1;
		address = piece.base;
		here = piece.length < room ? (__u32)piece.length : room;
		vector += sizeof piece;
	}
	return 0;
}

/* Of the record's response only what may be shown of any. */
__noinline int keep_type(void)
{
	struct trace_scratch *t = this_trace();
	__u32 base;

	if (!t || !t->record.reply_captured)
		return 0;
	base = t->record.request_captured;
	barrier_var(base);
	if (base > KILN_TRACE_REQUEST_BYTES) {
		t->record.reply_captured = 0;
		return 0;
	}
	t->record.reply_captured = shown_of_response(t->record.bytes + base, t->record.reply_captured);
	return 0;
}

#endif
