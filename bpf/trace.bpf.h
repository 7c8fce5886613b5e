/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace: a record for each request that passes the filters, sent through a ring when its reply has been handed over. The
 * filters decide here, before anything is copied for user space.
 *
 * Every request that the name and client filters let pass is in the end told, passed over by the other filters, or counted as
 * lost: exchange.untold is how many of a connection's are not yet. */
#ifndef KILN_TRACE_BPF_H
#define KILN_TRACE_BPF_H

#include "trace_replies.bpf.h"

#define WAKEUP_AT (KILN_TRACE_RING_BYTES / 2)    /* bytes unread, from which on user space is woken */
#define WAKEUP_EVERY_NS 1000000ULL

/* struct kiln_trace_record, cut behind its last byte. User space looks at it now and then; full: trace_ring_full. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_TRACE_RING_BYTES);
} trace_ring SEC(".maps");

struct trace_scratch {
	__u64 socket;                     /* of the call that is looked at */
	__u64 woken_at_ns;
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

static __always_inline __u16 client_port(__u64 socket)
{
	return BPF_CORE_READ((struct sock *)socket, __sk_common.skc_dport);
}

/* The receive or send of which the rest is about. */
static __always_inline void begin_call(__u64 socket, __u32 fd)
{
	struct trace_scratch *t = this_trace();

	if (t) {
		t->socket = socket;
		t->fd = fd;
	}
}

/* ---- a record ---------------------------------------------------------------------------------------------------- */

/* Waking user space costs microseconds: only where the ring fills faster than user space looks, and not for each record. */
static __always_inline __u64 ring_flags(struct trace_scratch *t, __u64 now)
{
	if (bpf_ringbuf_query(&trace_ring, BPF_RB_AVAIL_DATA) < WAKEUP_AT || now - t->woken_at_ns < WAKEUP_EVERY_NS)
		return BPF_RB_NO_WAKEUP;
	t->woken_at_ns = now;
	return BPF_RB_FORCE_WAKEUP;
}

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
		keep_first_word(&t->reply);
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
	record->client_port = client_port(t->socket);
	__builtin_memset(&record->client, 0, sizeof record->client);
	describe_client(&record->client, (struct sock *)t->socket, x->process);
	if (bpf_ringbuf_output(&trace_ring, record, __builtin_offsetof(struct kiln_trace_record, bytes) + replied + requested,
			       ring_flags(t, record->sent_ns ? record->sent_ns : record->received_ns)))
		lose(KILN_LOST_TRACE_RING_FULL, 1);
	return 0;
}

static __always_inline const struct trace_slot *slot_of(const struct exchange *x, __u32 sequence)
{
	int found = find_slot(x->id, sequence);
	__u32 index = found;

	return found < 0 ? NULL : bpf_map_lookup_elem(&trace_slots, &index);
}

static __always_inline void told(struct exchange *x, __u32 sequence)
{
	__sync_fetch_and_add(&x->untold, -1);
	free_slot(x->id, sequence);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* A request has been read; it lies at [begun, end) of the reader. To be called for each run of a receive, in order. */
static __always_inline void request_read(struct exchange *x, struct resp_reader *r, __u32 row, __u32 count, __u32 begun, __u32 end)
{
	x->sequence += count;
	if (!r->traced)
		return;
	if (!traces_command(row))
		return;
	__sync_fetch_and_add(&x->untold, 1);
	keep_request(x, r, x->sequence, begun, end);
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
	told(x, x->sequence);
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
static __always_inline void choose_listing(const struct exchange *x, __u64 oldest_ns, bool in_part)
{
	__u32 zero = 0;
	struct reply_reader *r = bpf_map_lookup_elem(&reply_readers, &zero);
	bool wanted = x->untold && (in_part || x->flags & IN_REPLY || x->sent_ns - oldest_ns >= trace.slower_than_ns);

	if (r)
		r->apart = x->flags & TRACED && (wanted || (x->flags & RESP3 && traces_pushes()));
}

/* The next of the listed replies answers the request with this row and sequence. */
__noinline int tell_answer(struct exchange *x)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();
	const struct trace_slot *slot;
	struct listed_reply *answer = NULL;
	struct kiln_trace_record *record;
	__u32 at;

	if (!trace.enabled || !x || !t || !list)
		return 0;
	record = &t->record;
	at = list->taken;
	if (at < list->listed) {
		list->taken = at + 1;
		barrier_var(at);
		answer = &list->replies[at & (LISTED_REPLIES - 1)];
		if (answer->is_error)
			record->flags |= KILN_TRACE_ERROR;
	}
	if (!answer || (trace.errors_only && !answer->is_error) || record->sent_ns < record->received_ns ||
	    record->sent_ns - record->received_ns < trace.slower_than_ns) {
		told(x, record->sequence);
		return 0;
	}
	slot = slot_of(x, record->sequence);
	t->reply.kept = 0;
	record->reply_bytes = answer->bytes;
	if (!slot)
		record->flags |= KILN_TRACE_REQUEST_LOST;
	if (answer->place.resumed) {
		if (!slot || !slot->reply_bytes) {
			record->flags |= KILN_TRACE_REPLY_LOST;
		} else {
			record->reply_bytes += slot->reply_bytes;
			at = slot->reply_kept;
			barrier_var(at);
			if (at <= KILN_TRACE_REPLY_BYTES && !bpf_probe_read_kernel(t->reply.bytes, at, slot->reply))
				t->reply.kept = at;
		}
	}
	if (!(record->flags & KILN_TRACE_REPLY_LOST) && gather(&t->reply, &answer->place, answer->bytes))
		record->flags |= KILN_TRACE_REPLY_LOST;
	send_record(x, slot);
	told(x, record->sequence);
	return 0;
}

/* `count` requests of a row have been answered, the first of them with this sequence; count is 1 for rows that are traced. */
static __always_inline void answered(struct exchange *x, __u32 row, __u32 sequence, __u32 count, __u64 received_ns,
				     __u64 arrived_ns, __u64 executed_ns)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();

	if (!(x->flags & TRACED) || !t || !list)
		return;
	if (!traces_command(row)) {
		list->taken += count;
		return;
	}
	__builtin_memset(&t->record, 0, __builtin_offsetof(struct kiln_trace_record, bytes));
	t->record.flags = KILN_TRACE_ANSWERED | (row_class(row) == KILN_CLASS_BLOCKING ? KILN_TRACE_BLOCKING : 0);
	t->record.received_ns = received_ns;
	t->record.arrived_ns = arrived_ns;
	t->record.executed_ns = executed_ns;
	t->record.sent_ns = x->sent_ns;
	t->record.row = row;
	t->record.sequence = sequence;
	tell_answer(x);
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
