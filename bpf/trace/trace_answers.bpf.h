/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace's answers: requests that a send answers are listed while it is read, and emitted when the calls that found them have returned: equal
 * requests of one receive coalesced where possible, others singly. */
#ifndef KILN_TRACE_ANSWERS_BPF_H
#define KILN_TRACE_ANSWERS_BPF_H

#include "common/bpf.h"
#include "requests/control.bpf.h"
#include "requests/readers.bpf.h"
#include "trace/trace_records.bpf.h"

/* When the oldest request that waits was read. */
static __always_inline __u64 oldest_wait(const struct connection *x, const struct connection_details *c)
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

/* List the replies of this send only if one can be of interest. One that may go on is followed in any case, because its
 * duration isn't known yet. */
__noinline int choose_listing(const struct connection *x, const struct connection_details *c, bool in_part)
{
	__u32 zero = 0;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);

	if (!x || !c || !r)
		return 0;
	r->lists = x->flags & TRACED && x->pending &&
		(in_part || x->flags & IN_REPLY || x->sent_ns - oldest_wait(x, c) >= trace.slower_than_ns);
	if (x->flags & TRACED && x->flags & MAY_GET_UNSOLICITED && traces_pushes())
		r->lists = 1;
	return 0;
}

/* Requests that a send answers: equal ones of one receive, or one. */
struct answered_request {
	__u64 received_ns, arrived_ns, executed_ns;
	__u32 row, sequence, count;
	__u32 first; /* sequence of the first one of their receive */
	__u32 reply; /* index among those listed */
	__u32 reserved;
};

struct answered_list {
	__u64 count;
	struct answered_request requests[LISTED_REPLIES];
};

/* Scratch, one for each CPU: empty between sends. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answered_list);
} answered_lists SEC(".maps");

static __always_inline struct answered_list *this_answered(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&answered_lists, &zero);
}

/* Whether what this send answers was slow enough to be emitted. */
static __always_inline bool is_slow(const struct connection *x, __u64 received_ns)
{
	return x->sent_ns >= received_ns && x->sent_ns - received_ns >= trace.slower_than_ns;
}

/* `count` requests of a row have been answered, the first of them with this sequence. What becomes of them is seen to when the whole send
 * has been followed: from here the stack of nested functions would be too deep. */
__noinline int answered(struct connection *x, __u32 row, __u32 sequence, __u32 count, const struct batch *came)
{
	struct reply_list *list = this_list();
	struct answered_list *answers = this_answered();
	struct answered_request *request;
	__u32 reply;
	__u64 at;

	if (!x || !came || !(x->flags & TRACED) || !list || !answers)
		return 0;
	reply = list->taken;
	list->taken += count;
	if (!traces_command(row))
		return 0;
	__sync_fetch_and_add(&x->pending, -count);
	at = answers->count;
	if (at >= LISTED_REPLIES) {
		if (is_slow(x, came->received_ns))
			lose(KILN_LOST_UNTRACED_COMMANDS, count);
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
	request->count = count;
	request->first = came->first;
	request->reply = reply;
	return 0;
}

/* The one request that waits has been answered. */
__noinline int answered_one(struct connection *x)
{
	struct batch came = {};

	if (!x)
		return 0;
	came.received_ns = x->received_ns;
	came.arrived_ns = x->arrived_ns;
	came.sequence = came.first = x->sequence;
	return answered(x, command_in_flight(x), x->sequence, 1, &came);
}

/* A reply that began in an earlier send: what is known of it comes before what this send has. */
static __always_inline void resume_reply(struct trace_scratch *t, const struct trace_slot *slot)
{
	__u32 kept, at;

	if (!slot || !slot->reply_bytes) {
		t->record.flags |= KILN_TRACE_REPLY_LOST;
		return;
	}
	t->record.reply_bytes += slot->reply_bytes;
	kept = slot->reply_captured;
	at = t->record.request_captured;
	barrier_var(kept);
	barrier_var(at);
	if (kept <= KILN_TRACE_REPLY_BYTES && at <= sizeof t->record.bytes &&
		!bpf_probe_read_kernel(t->record.bytes + at, kept, slot->reply))
		t->record.reply_captured = kept;
}

/* The receive in a slot is in this CPU's reader as if it had just come; false: it is not. */
__noinline int load_receive(int index)
{
	struct trace_scratch *t = this_trace();
	struct trace_slot *slot = slot_at(index);
	__u32 zero = 0, length;
	struct request_reader *r = bpf_map_lookup_elem(&request_readers, &zero);

	if (!t || !slot || !r || slot->request_lost)
		return false;
	length = slot->request_captured;
	barrier_var(length);
	if (length > KILN_TRACE_RECEIVE_BYTES || bpf_probe_read_kernel(r->bytes, length, slot->request))
		return false;
	start_receive(r, 0, length, 0);
	r->window_length = length;
	r->counting = false;
	r->traced = SPLIT;
	restart_requests(&t->stream);
	t->split = index;
	return true;
}

/* The requests of a slot become those of this CPU's reader, each by itself: it follows them as it did when they came, and looks up
 * no name. */
static __always_inline void split_coalesced(struct trace_scratch *t)
{
	__u32 zero = 0;
	struct request_reader *r;

	if (t->split == t->slot || !load_receive(t->slot))
		return;
	r = bpf_map_lookup_elem(&request_readers, &zero);
	if (!r)
		return;
	read_requests(r, &t->stream);
	note_run(r);
}

/* The request that comes `index` behind the first of some, whose bytes are where the scratch says, and its reply. */
__noinline int emit_request(struct connection *x, const struct answered_request *request, __u32 index, const struct listed_reply *reply)
{
	struct trace_scratch *t = this_trace();
	struct kiln_trace_record *record;
	struct trace_slot *slot;
	__u32 zero = 0, begun = 0, kept = 0;
	struct request_reader *r = bpf_map_lookup_elem(&request_readers, &zero);
	__u64 bytes = 0;

	if (!x || !request || !reply || !t || !r)
		return 0;
	slot = slot_at(t->slot);
	record = new_record(t, request->row, request->sequence + index);
	record->flags = KILN_TRACE_ANSWERED | (reply->is_error ? KILN_TRACE_ERROR : 0) |
		(row_class(request->row) == KILN_CLASS_BLOCKING ? KILN_TRACE_BLOCKING : 0);
	record->received_ns = request->received_ns;
	record->arrived_ns = request->arrived_ns;
	record->executed_ns = request->executed_ns;
	record->sent_ns = x->sent_ns;
	record->reply_bytes = reply->bytes;
	if (slot && slot->coalesced) {
		__u32 run = record->sequence - slot->first;

		barrier_var(run);
		if (t->split == t->slot && run < r->runs_noted) {
			begun = r->runs[run & (RUNS_MAX - 1)].begun;
			bytes = kept = r->runs[run & (RUNS_MAX - 1)].largest;
		}
	} else if (slot) {
		kept = slot->request_captured;
		bytes = slot->request_bytes;
	}
	put_request(bytes ? slot : NULL, begun, kept, bytes);
	if (reply->place.resumed)
		resume_reply(t, slot);
	if (!(record->flags & KILN_TRACE_REPLY_LOST) && gather(&reply->place, reply->bytes, KILN_TRACE_REPLY_BYTES))
		record->flags |= KILN_TRACE_REPLY_LOST;
	send_record(x);
	return 0;
}

/* Emit requests of one receive and row that this send answered as one record. False: they have to be emitted singly. */
__noinline int emit_coalesced(struct connection *x)
{
	struct answered_list *answers = this_answered();
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();
	const struct listed_reply *first, *last;
	const struct answered_request *request;
	struct kiln_trace_record *record;
	struct trace_slot *slot;
	__u32 zero = 0, begun = 0, end, at;
	struct request_reader *r = bpf_map_lookup_elem(&request_readers, &zero);
	__u64 bytes;

	if (!x || !answers || !t || !list || !r)
		return false;
	at = t->emitting;
	barrier_var(at);
	request = &answers->requests[at & (LISTED_REPLIES - 1)];
	slot = slot_at(t->slot);
	at = request->reply + request->count - 1;
	if (!slot || request->count < 2 || trace.errors_only || trace.without_arguments || words_to_emit(request->row) < WORDS_MAX ||
		list->pushes || at >= list->listed)
		return false;
	barrier_var(at);
	last = &list->replies[at & (LISTED_REPLIES - 1)];
	at = request->reply;
	barrier_var(at);
	first = &list->replies[at & (LISTED_REPLIES - 1)];
	bytes = last->place.address + last->bytes - first->place.address;
	if (first->place.resumed || first->place.vector != last->place.vector || bytes > first->place.here ||
		bytes > KILN_TRACE_REPLIES_BYTES)
		return false;
	end = slot->request_captured;
	if (request->count != slot->coalesced) {
		__u32 run = request->sequence - slot->first, next = run + request->count;

		if (t->split != t->slot || next > r->runs_noted)
			return false;
		barrier_var(run);
		begun = r->runs[run & (RUNS_MAX - 1)].begun;
		if (next < r->runs_noted) {
			barrier_var(next);
			end = r->runs[next & (RUNS_MAX - 1)].begun;
		}
	}
	record = new_record(t, request->row, request->sequence);
	record->count = request->count;
	record->flags = KILN_TRACE_ANSWERED | (row_class(request->row) == KILN_CLASS_BLOCKING ? KILN_TRACE_BLOCKING : 0);
	record->received_ns = request->received_ns;
	record->arrived_ns = request->arrived_ns;
	record->sent_ns = x->sent_ns;
	if (put_requests(slot, begun, end) || gather(&first->place, bytes, KILN_TRACE_REPLIES_BYTES))
		return false;
	send_record(x);
	return true;
}

/* Emit one of the answered requests. */
static long emit_answer(__u32 index, struct connection **connection)
{
	struct trace_scratch *t = this_trace();
	struct answered_list *answers = this_answered();
	struct answered_request *request;
	struct reply_list *list = this_list();
	const struct listed_reply *reply;
	__u32 at;

	if (!t || !answers || !list)
		return 1;
	at = t->emitting;
	barrier_var(at);
	request = &answers->requests[at & (LISTED_REPLIES - 1)];
	at = request->reply + index;
	if (at >= list->listed) {
		lose(KILN_LOST_UNTRACED_COMMANDS, 1);
		return 0;
	}
	barrier_var(at);
	reply = &list->replies[at & (LISTED_REPLIES - 1)];
	if (!trace.errors_only || reply->is_error)
		emit_request(*connection, request, index, reply);
	return 0;
}

/* Whether one of the requests is to be emitted; the scratch then says where they are captured. */
__noinline int find_answered(const struct connection *x, __u32 index)
{
	struct answered_list *answers = this_answered();
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();
	struct answered_request *request;

	if (!x || !answers || !t || !list)
		return 0;
	barrier_var(index);
	request = &answers->requests[index & (LISTED_REPLIES - 1)];
	t->emitting = index;
	t->slot = slot_with(x->id, request->sequence, request->first);
	t->count = request->count;
	return is_slow(x, request->received_ns) && (!trace.errors_only || list->errors);
}

static long emit_requests(__u32 index, struct connection **connection)
{
	struct trace_scratch *t = this_trace();
	struct trace_slot *slot;

	if (!t)
		return 1;
	if (find_answered(*connection, index)) {
		slot = slot_at(t->slot);
		if (slot && slot->coalesced > t->count)
			split_coalesced(t);
		if (!emit_coalesced(*connection)) {
			if (slot && slot->coalesced)
				split_coalesced(t);
			bpf_loop(t->count, emit_answer, connection, 0);
		}
	}
	leave_slot(t->slot, (*connection)->id, t->count);
	return 0;
}

/* All requests that this send answered. Inlined: the verifier follows eight nested calls, and names lie that deep in the functions below. */
static __always_inline void emit_answers(struct connection *x)
{
	struct answered_list *answers = this_answered();
	struct trace_scratch *t = this_trace();

	if (!t || !answers || !answers->count)
		return;
	t->split = -1;
	bpf_loop(answers->count, emit_requests, &x, 0);
	answers->count = 0;
}

/* Whether what waits in the connection is traced. */
static __always_inline bool is_traced(const struct connection *x)
{
	return x->flags & TRACED && traces_command(command_in_flight(x));
}

/* Whether it is emitted, if a complete response that is no error has answered it. */
static __always_inline bool emits_answered(const struct connection *x)
{
	return !trace.errors_only && is_slow(x, x->received_ns);
}

/* A send that is one whole reply and no error, to the one request in flight: emitted without lists. */
static __always_inline void emit_only_answer(struct connection *x, __u64 buffer, __u32 bytes)
{
	struct trace_scratch *t = this_trace();
	struct answered_list *answers = this_answered();
	struct reply_list *list = this_list();
	struct answered_request *request;
	struct listed_reply *reply;

	if (t && answers && list) {
		t->slot = find_slot(x->id, x->sequence);
		request = &answers->requests[0];
		request->received_ns = x->received_ns;
		request->arrived_ns = x->arrived_ns;
		request->executed_ns = x->executed_ns;
		request->row = command_in_flight(x);
		request->sequence = x->sequence;
		reply = &list->replies[0];
		reply->place.address = buffer;
		reply->place.vector = 0;
		reply->place.here = bytes;
		reply->place.resumed = 0;
		reply->bytes = bytes;
		reply->is_error = 0;
		emit_request(x, request, 0, reply);
	}
}

/* The `count` traced requests that wait in the connection have been answered, and are emitted or never will be. */
static __always_inline void forget_answered(struct connection *x, __u32 count)
{
	free_slot_of(x->id, x->sequence - count + 1);
	__sync_fetch_and_add(&x->pending, -count);
}

/* The beginning of what the send ended inside of is kept in the slot with this key: its bytes will be gone. */
__noinline int capture_beginning(struct trace_slot *slot)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();

	if (!slot || !t || !list)
		return 0;
	t->record.request_captured = t->record.reply_captured = 0;
	t->record.flags = 0;
	if (list->place.resumed)
		resume_reply(t, slot);
	else
		slot->reply_bytes = 0;
	if (t->record.flags || gather(&list->place, list->bytes, KILN_TRACE_REPLY_BYTES)) {
		slot->reply_bytes = 0; /* it is known to be lost */
		return 0;
	}
	bpf_probe_read_kernel(slot->reply, KILN_TRACE_REPLY_BYTES, t->record.bytes);
	slot->reply_captured = t->record.reply_captured;
	slot->reply_bytes += list->bytes;
	return 0;
}

/* The send ended inside the reply to the request with this sequence. */
__noinline int capture_reply(struct connection *x, __u32 sequence, __u32 first)
{
	struct trace_slot *slot;

	if (!x)
		return 0;
	slot = slot_at(slot_with(x->id, sequence, first));
	return slot ? capture_beginning(slot) : 0;
}

#endif
