/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace: a record for each request that passes the filters, sent through a ring when its reply has been handed over. The
 * filters decide here, before anything is copied for user space.
 *
 * Every request that the name and client filters let pass is in the end told, passed over by the other filters, or counted as
 * lost: exchange.untold is how many of a connection's are not yet. */
#ifndef KILN_TRACE_BPF_H
#define KILN_TRACE_BPF_H

#include "trace_replies.bpf.h"

/* struct kiln_trace_record, cut behind its last byte. User space is never woken, which would cost microseconds each time, but looks
 * before the fastest server could have filled it; full: trace_ring_full. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_TRACE_RING_BYTES);
} trace_ring SEC(".maps");

struct trace_carrier {
	__u64 socket;
	__u32 fd;
	__u32 reserved;
};

struct trace_scratch {
	__u64 socket;                     /* of the call that is looked at */
	__u32 fd;
	__u32 reserved;
	struct gathered reply;
	struct kiln_trace_record record;
};

/* Scratch, one for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct trace_scratch);
} trace_scratches SEC(".maps");

static __always_inline void describe_client(struct kiln_client_key *client, struct sock *sk, __u32 process);

static __always_inline struct trace_scratch *this_trace(void)
{
	__u32 zero = 0;

	return trace.enabled ? bpf_map_lookup_elem(&trace_scratches, &zero) : NULL;
}

/* The receive or send of which the rest is about. Hooks call it, because what a send is described by lies on their stack. */
static __always_inline void begin_call(__u64 socket, __u32 fd)
{
	struct trace_scratch *t = this_trace();

	if (t) {
		t->socket = socket;
		t->fd = fd;
	}
}

static __always_inline __u16 client_port(void)
{
	struct trace_scratch *t = this_trace();
	struct sock *sk = t ? (struct sock *)t->socket : NULL;

	return sk ? BPF_CORE_READ(sk, __sk_common.skc_dport) : 0;
}

/* Key: an SSL object's id; value: the socket that carries it and its descriptor, as when they were first seen. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct trace_carrier);
} trace_carriers SEC(".maps");

/* The socket of the call that is looked at carries an SSL object. */
__noinline int note_carrier(__u64 id)
{
	struct trace_scratch *t = this_trace();
	struct trace_carrier carrier = {};

	if (!trace.enabled || !t)
		return 0;
	carrier.socket = t->socket;
	carrier.fd = t->fd;
	bpf_map_update_elem(&trace_carriers, &id, &carrier, BPF_ANY);
	return 0;
}

/* The receive or send of an SSL object of which the rest is about, and who is at its other end. */
__noinline int begin_carried_call(__u64 id, struct kiln_client_key *client, __u32 process)
{
	struct trace_carrier *carrier;

	if (!trace.enabled || !client)
		return 0;
	carrier = bpf_map_lookup_elem(&trace_carriers, &id);
	begin_call(carrier ? carrier->socket : 0, carrier ? carrier->fd : KILN_TRACE_NO_FD);
	if (carrier)
		describe_client(client, (struct sock *)carrier->socket, process);
	return 0;
}

/* ---- a record ---------------------------------------------------------------------------------------------------- */

/* The reply gathered and the request of a slot (or none) behind the record's header, and off. */
__noinline int send_record(struct exchange *x, const struct trace_slot *slot)
{
	struct trace_scratch *t = this_trace();
	__u32 replied, requested = 0, words;
	struct kiln_trace_record *record;

	if (!trace.enabled || !x || !t)
		return 0;
	record = &t->record;
	words = record->flags & KILN_TRACE_PUSH ? WORDS_MAX : words_to_tell(record->row);
	if (words < WORDS_MAX || trace.without_arguments) {
		keep_type(&t->reply);
		record->flags |= KILN_TRACE_REPLY_WITHHELD;
	}
	if (slot) {
		record->request_bytes = slot->request_bytes;
		requested = slot->request_kept;
		if (slot->request_lost) {
			requested = 0;
			record->flags |= KILN_TRACE_REQUEST_LOST;
		}
		if (words < WORDS_MAX && requested) {
			requested = words_end(slot, words);
			if (requested < slot->request_bytes)
				record->flags |= KILN_TRACE_SECRET;
		}
	}
	replied = t->reply.kept;
	barrier_var(replied);
	if (replied > KILN_TRACE_REPLY_BYTES)
		return 0;
	bpf_probe_read_kernel(record->bytes, replied, t->reply.bytes);
	barrier_var(requested);
	if (requested > KILN_TRACE_REQUEST_BYTES)
		return 0;
	if (slot)
		bpf_probe_read_kernel(record->bytes + replied, requested, slot->request);
	record->reply_kept = replied;
	record->request_kept = requested;
	record->tid = (__u32)bpf_get_current_pid_tgid();
	record->fd = t->fd;
	if (x->id & TLS_ID)
		record->flags |= KILN_TRACE_TLS;
	record->client_port = client_port();
	__builtin_memset(&record->client, 0, sizeof record->client);
	describe_client(&record->client, (struct sock *)t->socket, x->process);
	if (bpf_ringbuf_output(&trace_ring, record, __builtin_offsetof(struct kiln_trace_record, bytes) + replied + requested,
			       BPF_RB_NO_WAKEUP))
		lose(KILN_LOST_TRACE_RING_FULL, 1);
	return 0;
}

static __always_inline const struct trace_slot *slot_of(const struct exchange *x, __u32 sequence)
{
	int found = find_slot(x->id, sequence);
	__u32 index = found;

	return found < 0 ? NULL : bpf_map_lookup_elem(&trace_slots, &index);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* The request that was read last, which lies at [begun, begun + bytes) of the reader. */
__noinline int request_read(struct exchange *x, struct resp_reader *r, __u32 row, __u32 begun, __u32 bytes)
{
	if (!trace.enabled || !x || !r || !r->traced || !traces_command(row))
		return 0;
	__sync_fetch_and_add(&x->untold, 1);
	keep_request(x, r, x->sequence, begun, begun + bytes);
	return 0;
}

/* The one request of a receive: the run that goes on. */
__noinline int only_request_read(struct exchange *x, struct resp_reader *r)
{
	if (!trace.enabled || !x || !r)
		return 0;
	x->sequence++;
	return request_read(x, r, r->run_command, r->run_begun, r->run_largest);
}

/* A receive ended inside a request. */
__noinline int keep_begun_request(struct exchange *x, struct resp_reader *r)
{
	if (!trace.enabled || !x || !r || !r->traced)
		return 0;
	return keep_request(x, r, x->sequence + 1, r->begun, r->end);
}

/* The request that was read last will not be seen to be answered: none is expected, or nobody can tell which reply is its. */
__noinline int tell_unanswered(struct exchange *x, __u32 row, __u64 received_ns, __u64 arrived_ns)
{
	struct trace_scratch *t = this_trace();

	if (!trace.enabled || !x || !t || !(x->flags & TRACED) || !traces_command(row))
		return 0;
	if (!trace.slower_than_ns && !trace.errors_only) {
		__builtin_memset(&t->record, 0, __builtin_offsetof(struct kiln_trace_record, bytes));
		t->record.received_ns = received_ns;
		t->record.arrived_ns = arrived_ns;
		t->record.row = row;
		t->record.sequence = x->sequence;
		t->reply.kept = 0;
		send_record(x, slot_of(x, x->sequence));
	}
	__sync_fetch_and_add(&x->untold, -1);
	free_slot(x->id, x->sequence);
	return 0;
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* When the oldest request that waits was read. */
static __always_inline __u64 oldest_wait(const struct exchange *x, const struct connection *c)
{
	__u32 batch = c->batch_head;

	if (x->waiting != WAITING_PIPELINE)
		return x->received_ns;
	barrier_var(batch);
	return c->batches[batch & (PIPELINE_BATCHES - 1)].received_ns;
}

static __always_inline bool traces_pushes(void)
{
	return !trace.slower_than_ns && !trace.errors_only && !trace.by_command;
}

/* List the replies of this send only if one can be of interest. One that may go on is followed in any case, because nobody
 * knows how long it takes. */
__noinline int choose_listing(const struct exchange *x, const struct connection *c, bool in_part)
{
	__u32 zero = 0;
	struct reply_reader *r = bpf_map_lookup_elem(&reply_readers, &zero);

	if (!trace.enabled || !x || !c || !r)
		return 0;
	r->apart = x->flags & TRACED && x->untold &&
		   (in_part || x->flags & IN_REPLY || x->sent_ns - oldest_wait(x, c) >= trace.slower_than_ns);
	if (x->flags & TRACED && x->flags & RESP3 && traces_pushes())
		r->apart = 1;
	return 0;
}

/* A request that a send answers. */
struct answered_request {
	__u64 received_ns, arrived_ns, executed_ns;
	__u32 row, sequence;
	__u32 reply;                      /* index among those listed; behind them: not listed, because it can't be of interest */
	__u32 reserved;
};

struct answered_list {
	__u64 count;
	struct answered_request requests[LISTED_REPLIES];
};

/* Scratch, one for each CPU: empty when no send is looked at. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answered_list);
} answered_lists SEC(".maps");

static __always_inline struct answered_list *this_answered(void)
{
	__u32 zero = 0;

	return trace.enabled ? bpf_map_lookup_elem(&answered_lists, &zero) : NULL;
}

/* `count` requests of a row have been answered, the first of them with this sequence; count is 1 for rows that are traced. They
 * are told when the whole send has been followed: from here the stack of nested functions would be too deep. */
__noinline int answered(struct exchange *x, __u32 row, __u32 sequence, __u32 count, const struct batch *came)
{
	struct reply_list *list = this_list();
	struct answered_list *answers = this_answered();
	struct answered_request *request;
	__u64 at;

	if (!trace.enabled || !x || !came || !(x->flags & TRACED) || !list || !answers)
		return 0;
	list->taken += count;
	if (!traces_command(row))
		return 0;
	__sync_fetch_and_add(&x->untold, -1);
	at = answers->count;
	if (at >= LISTED_REPLIES) {
		lose(KILN_LOST_UNTRACED_COMMANDS, 1);
		return 0;
	}
	answers->count = at + 1;
	barrier_var(at);
	request = &answers->requests[at & (LISTED_REPLIES - 1)];
	request->received_ns = came->received_ns;
	request->arrived_ns = came->arrived_ns;
	request->executed_ns = x->waiting == WAITING_ONE ? x->executed_ns : 0;
	request->row = row;
	request->sequence = sequence;
	request->reply = list->taken - 1;
	return 0;
}

/* The one request that waits has been answered. */
__noinline int answered_one(struct exchange *x)
{
	struct batch came = {};

	if (!trace.enabled || !x)
		return 0;
	came.received_ns = x->received_ns;
	came.arrived_ns = x->arrived_ns;
	return answered(x, x->command, x->sequence, 1, &came);
}

/* A reply that began in an earlier send: what is known of it comes before what this send has. */
static __always_inline void resume_reply(struct trace_scratch *t, const struct trace_slot *slot)
{
	__u32 kept;

	if (!slot || !slot->reply_bytes) {
		t->record.flags |= KILN_TRACE_REPLY_LOST;
		return;
	}
	t->record.reply_bytes += slot->reply_bytes;
	kept = slot->reply_kept;
	barrier_var(kept);
	if (kept <= KILN_TRACE_REPLY_BYTES && !bpf_probe_read_kernel(t->reply.bytes, kept, slot->reply))
		t->reply.kept = kept;
}

/* One of the requests that this send answered. */
__noinline int tell_answer(struct exchange *x, __u32 index)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();
	const struct trace_slot *slot;
	const struct answered_request *request;
	const struct answered_list *answers = this_answered();
	const struct listed_reply *reply;
	struct kiln_trace_record *record;
	__u32 at;

	if (!trace.enabled || !x || !t || !list || !answers)
		return 0;
	barrier_var(index);
	request = &answers->requests[index & (LISTED_REPLIES - 1)];
	at = request->reply;
	barrier_var(at);
	reply = &list->replies[at & (LISTED_REPLIES - 1)];
	if (at < list->listed && (!trace.errors_only || reply->is_error) && x->sent_ns >= request->received_ns &&
	    x->sent_ns - request->received_ns >= trace.slower_than_ns) {
		record = &t->record;
		__builtin_memset(record, 0, __builtin_offsetof(struct kiln_trace_record, bytes));
		record->flags = KILN_TRACE_ANSWERED | (reply->is_error ? KILN_TRACE_ERROR : 0) |
				(row_class(request->row) == KILN_CLASS_BLOCKING ? KILN_TRACE_BLOCKING : 0);
		record->received_ns = request->received_ns;
		record->arrived_ns = request->arrived_ns;
		record->executed_ns = request->executed_ns;
		record->sent_ns = x->sent_ns;
		record->row = request->row;
		record->sequence = request->sequence;
		record->reply_bytes = reply->bytes;
		slot = slot_of(x, request->sequence);
		if (!slot)
			record->flags |= KILN_TRACE_REQUEST_LOST;
		t->reply.kept = 0;
		if (reply->place.resumed)
			resume_reply(t, slot);
		if (!(record->flags & KILN_TRACE_REPLY_LOST) && gather(&t->reply, &reply->place, reply->bytes))
			record->flags |= KILN_TRACE_REPLY_LOST;
		send_record(x, slot);
	}
	free_slot(x->id, request->sequence);
	return 0;
}

static long tell_next_answer(__u32 index, struct exchange **exchange)
{
	tell_answer(*exchange, index);
	return 0;
}

/* All requests that this send answered. */
__noinline int tell_answers(struct exchange *x)
{
	struct answered_list *answers = this_answered();

	if (!trace.enabled || !x || !answers || !answers->count)
		return 0;
	bpf_loop(answers->count, tell_next_answer, &x, 0);
	answers->count = 0;
	return 0;
}

/* A send that is one whole reply, to the one request that waits. */
__noinline int tell_only_answer(struct exchange *x, __u64 buffer, __u32 bytes)
{
	struct answered_list *answers = this_answered();

	if (!trace.enabled || !x || !answers || !(x->flags & TRACED) || !traces_command(x->command))
		return 0;
	list_only_reply(buffer, bytes);
	answered_one(x);
	tell_answer(x, 0);
	answers->count = 0;
	return 0;
}

/* The send ended inside the reply to the request with this sequence: its first bytes are kept, for they will be gone. */
__noinline int keep_reply(struct exchange *x, __u32 sequence)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();
	struct trace_slot *slot;
	__u32 index;
	int found;

	if (!trace.enabled || !x || !t || !list)
		return 0;
	found = find_slot(x->id, sequence);
	index = found;
	slot = found < 0 ? NULL : bpf_map_lookup_elem(&trace_slots, &index);
	if (!slot || (list->place.resumed && !slot->reply_bytes))
		return 0;
	bpf_probe_read_kernel(t->reply.bytes, KILN_TRACE_REPLY_BYTES, slot->reply);
	t->reply.kept = slot->reply_kept;
	if (gather(&t->reply, &list->place, list->bytes))
		return 0;                         /* with reply_bytes 0 it is known to be lost */
	bpf_probe_read_kernel(slot->reply, KILN_TRACE_REPLY_BYTES, t->reply.bytes);
	slot->reply_kept = t->reply.kept;
	slot->reply_bytes += list->bytes;
	return 0;
}

static long tell_push(__u32 index, struct exchange **exchange)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();
	struct exchange *x = *exchange;
	struct listed_reply *push;

	if (!t || !list)
		return 1;
	barrier_var(index);
	push = &list->pushed[index & (LISTED_PUSHES - 1)];
	__builtin_memset(&t->record, 0, __builtin_offsetof(struct kiln_trace_record, bytes));
	t->record.flags = KILN_TRACE_PUSH;
	t->record.sent_ns = x->sent_ns;
	t->record.sequence = x->sequence;
	t->record.reply_bytes = push->bytes;
	t->reply.kept = 0;
	if (push->place.resumed || gather(&t->reply, &push->place, push->bytes))
		t->record.flags |= KILN_TRACE_REPLY_LOST;
	send_record(x, NULL);
	return 0;
}

/* What the send pushed. */
__noinline int tell_pushes(struct exchange *x)
{
	struct reply_list *list = this_list();

	if (!trace.enabled || !x || !list || !traces_pushes())
		return 0;
	bpf_loop(list->pushes, tell_push, &x, 0);
	return 0;
}

#endif
