/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of a trace, and the filters that decide which are sent. */
#ifndef KILN_TRACE_RECORDS_BPF_H
#define KILN_TRACE_RECORDS_BPF_H

#include "common/bpf.h"
#include "sockets/peers.bpf.h"
#include "trace/trace_replies.bpf.h"

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

/* The receive or send of which the rest is about. */
static __always_inline void begin_call(__u64 socket, __u32 fd)
{
	struct trace_scratch *t = this_trace();

	if (t) {
		t->socket = socket;
		t->fd = fd;
		t->peer_known = false;
	}
}

static __always_inline __u16 client_port(void)
{
	struct trace_scratch *t = this_trace();
	struct sock *sk = t ? (struct sock *)t->socket : NULL;

	return sk ? BPF_CORE_READ(sk, __sk_common.skc_dport) : 0;
}

/* Who is at the other end of that call's socket: asked for once, however many records follow. */
static __always_inline void know_peer(struct trace_scratch *t, __u32 process)
{
	if (t->peer_known)
		return;
	t->peer_known = true;
	__builtin_memset(&t->peer, 0, sizeof t->peer);
	describe_client(&t->peer, (struct sock *)t->socket, process);
	t->peer_port = client_port();
}

/* Key: an SSL object's id; value: the socket that carries it and its descriptor, as when they were first seen. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct trace_carrier);
} trace_carriers SEC(".maps");

/* The current call's socket carries an SSL object. */
__noinline int note_carrier(__u64 id)
{
	struct trace_scratch *t = this_trace();
	struct trace_carrier carrier = {};

	if (!t)
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

	if (!client)
		return 0;
	carrier = bpf_map_lookup_elem(&trace_carriers, &id);
	begin_call(carrier ? carrier->socket : 0, carrier ? carrier->fd : KILN_TRACE_NO_FD);
	if (carrier)
		describe_client(client, (struct sock *)carrier->socket, process);
	return 0;
}

/* ---- a record ---------------------------------------------------------------------------------------------------- */

static __always_inline struct kiln_trace_record *new_record(struct trace_scratch *t, __u32 row, __u32 sequence)
{
	__builtin_memset(&t->record, 0, __builtin_offsetof(struct kiln_trace_record, bytes));
	t->record.row = row;
	t->record.count = 1;
	t->record.sequence = sequence;
	return &t->record;
}

/* The record's request: `bytes` long, what was kept of it lies in a slot from `begun` on. */
__noinline int put_request(const struct trace_slot *slot, __u32 begun, __u32 kept, __u64 bytes)
{
	struct trace_scratch *t = this_trace();
	struct kiln_trace_record *record;
	__u32 words;

	if (!t)
		return 0;
	record = &t->record;
	if (!slot || slot->request_lost) {
		record->flags |= KILN_TRACE_REQUEST_LOST;
		return 0;
	}
	record->request_bytes = bytes;
	if (trace.without_arguments)
		return 0;
	if (kept > trace.request_bytes)
		kept = trace.request_bytes;
	barrier_var(kept);
	if (kept > KILN_TRACE_REQUEST_BYTES || begun + kept > KILN_TRACE_RECEIVE_BYTES)
		return 0;
	if (bpf_probe_read_kernel(record->bytes, kept, slot->request + begun)) {
		record->flags |= KILN_TRACE_REQUEST_LOST;
		return 0;
	}
	words = words_to_emit(record->row);
	if (words < WORDS_MAX && kept) {
		kept = words_end(record, kept, words);
		if (kept < bytes)
			record->flags |= KILN_TRACE_SECRET;
	}
	record->request_captured = kept;
	return 0;
}

/* The record's requests, coalesced: a slot's bytes from `begun` to `end`, all of one row without secrets. 1: they were not captured. */
__noinline int put_requests(const struct trace_slot *slot, __u32 begun, __u32 end)
{
	struct trace_scratch *t = this_trace();
	__u32 kept = end - begun;

	if (!t || !slot || slot->request_lost || end > slot->request_captured || begun > end)
		return 1;
	barrier_var(kept);
	if (kept > KILN_TRACE_RECEIVE_BYTES || bpf_probe_read_kernel(t->record.bytes, kept, slot->request + begun))
		return 1;
	t->record.request_captured = kept;
	t->record.flags |= KILN_TRACE_COALESCED;
	return 0;
}

/* The record that is in this CPU's scratch, off. */
__noinline int send_record(struct connection *x)
{
	struct trace_scratch *t = this_trace();
	struct kiln_trace_record *record;
	__u32 bytes;

	if (!x || !t)
		return 0;
	record = &t->record;
	if (trace.without_arguments || (!(record->flags & KILN_TRACE_PUSH) && words_to_emit(record->row) < WORDS_MAX)) {
		keep_type();
		record->flags |= KILN_TRACE_REPLY_WITHHELD;
	}
	record->tid = (__u32)bpf_get_current_pid_tgid();
	record->fd = t->fd;
	if (x->id & TLS_ID)
		record->flags |= KILN_TRACE_TLS;
	know_peer(t, x->process);
	record->client = t->peer;
	record->client_port = t->peer_port;
	bytes = record->request_captured + record->reply_captured;
	barrier_var(bytes);
	if (bytes > sizeof record->bytes)
		return 0;
	if (bpf_ringbuf_output(&trace_ring, record, __builtin_offsetof(struct kiln_trace_record, bytes) + bytes, BPF_RB_NO_WAKEUP))
		lose(KILN_LOST_TRACE_RING_FULL, record->count);
	return 0;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* How the requests are kept of a receive that will be followed and has `bytes`. */
static __always_inline __u32 capture_of(const struct connection *x, __u32 bytes)
{
	if (!(x->flags & TRACED))
		return NOT_TRACED;
	if (x->flags & IN_REQUEST || bytes > KILN_TRACE_RECEIVE_BYTES || (trace.without_arguments && !emits_few()))
		return TRACED_SINGLY;
	return TRACED_COALESCED;
}

/* The runs of a receive are gone through next. */
static __always_inline void begin_runs(const struct connection *x)
{
	struct trace_scratch *t = this_trace();

	if (!t)
		return;
	t->first = x->sequence + 1;
	t->kept = NOT_CAPTURED;
}

/* The requests of a run of this receive have been read; the last run is noted already. */
__noinline int requests_read(struct connection *x, struct request_reader *r, __u32 index)
{
	struct trace_scratch *t = this_trace();
	struct request_run *run;
	struct trace_slot *slot;
	__u32 next = index + 1;

	if (!x || !r || !t)
		return 0;
	barrier_var(index);
	run = &r->runs[index & (RUNS_MAX - 1)];
	x->sequence += run->count;
	if (!r->traced || !traces_command(run->command))
		return 0;
	__sync_fetch_and_add(&x->pending, run->count);
	t->run_first = x->sequence - run->count + 1;
	if (r->traced == TRACED_SINGLY || r->commands_noted == 1)
		return capture_request(x, r, x->sequence, run->begun, run->begun + run->largest);
	t->run_begun = run->begun;
	barrier_var(next);
	t->run_end = next < r->runs_noted ? r->runs[next & (RUNS_MAX - 1)].begun : r->begun;
	if (t->kept == NOT_CAPTURED)
		t->kept = capture_receive(x, r, t->first, r->commands_noted);
	slot = slot_at(t->kept);
	if (slot)
		slot->waiting += run->count;
	else
		lose(KILN_LOST_TRACED_REQUESTS_WITHOUT_ROOM, run->count);
	return 0;
}

/* All runs of the receive have been read: its slot is freed if none of its requests is in flight. */
__noinline int all_requests_read(struct connection *x)
{
	struct trace_scratch *t = this_trace();
	struct trace_slot *slot = t ? slot_at(t->kept) : NULL;

	if (x && t && slot && !slot->waiting)
		free_slot(t->kept, x->id);
	return 0;
}

/* The one request of a receive: the run that goes on. */
static __always_inline void only_request_read(struct connection *x, struct request_reader *r)
{
	x->sequence++;
	if (!r->traced || !traces_command(r->run_command))
		return;
	__sync_fetch_and_add(&x->pending, 1);
	capture_request(x, r, x->sequence, r->run_begun, r->run_begun + r->run_largest);
}

/* The equal requests of a receive that are in flight as one run. */
static __always_inline void only_run_read(struct connection *x, struct request_reader *r)
{
	__u32 count = r->run_count;
	struct trace_slot *slot;

	x->sequence += count;
	if (!r->traced || !traces_command(r->run_command))
		return;
	__sync_fetch_and_add(&x->pending, count);
	slot = slot_at(capture_receive(x, r, x->sequence - count + 1, count));
	if (slot)
		slot->waiting = count;
	else
		lose(KILN_LOST_TRACED_REQUESTS_WITHOUT_ROOM, count);
}

/* A receive ended inside a request. */
__noinline int capture_begun_request(struct connection *x, struct request_reader *r)
{
	if (!x || !r || !r->traced)
		return 0;
	return capture_request(x, r, x->sequence + 1, r->begun, r->end);
}

/* The first `count` requests of the run that was read last will not be seen to be answered: no response is expected, or it can't be
 * matched. */
__noinline int emit_unanswered(struct connection *x, __u32 row, __u32 count, __u64 received_ns, __u64 arrived_ns)
{
	struct trace_scratch *t = this_trace();
	struct kiln_trace_record *record;
	struct trace_slot *slot;
	bool coalesced;
	int found;

	if (!x || !t || !(x->flags & TRACED) || !traces_command(row))
		return 0;
	__sync_fetch_and_add(&x->pending, -count);
	found = slot_with(x->id, x->sequence, t->first);
	slot = slot_at(found);
	coalesced = slot && slot->coalesced;
	if (!emits_few()) {
		record = new_record(t, row, t->run_first);
		record->received_ns = received_ns;
		record->arrived_ns = arrived_ns;
		record->count = count;
		if (!coalesced)
			put_request(slot, 0, slot ? slot->request_captured : 0, slot ? slot->request_bytes : 0);
		else if (words_to_emit(row) < WORDS_MAX)
			put_request(slot, t->run_begun, t->run_end - t->run_begun, t->run_end - t->run_begun);
		else if (put_requests(slot, t->run_begun, t->run_end))
			record->flags |= KILN_TRACE_REQUEST_LOST;
		send_record(x);
	}
	if (coalesced)
		slot->waiting -= count; /* all_requests_read() leaves it: more of the receive may be to come */
	else
		free_slot(found, x->id);
	return 0;
}

#endif
