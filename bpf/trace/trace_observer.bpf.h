/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace as the observer of requests: what it does at each event. requests/observer.bpf.h says what the events mean. */
#ifndef KILN_TRACE_OBSERVER_BPF_H
#define KILN_TRACE_OBSERVER_BPF_H

#include "requests/connection_details.bpf.h"
#include "trace/trace.bpf.h"

/* ---- calls --------------------------------------------------------------------------------------------------- */

static __always_inline void on_call_seen(struct place *place, const struct pt_regs *regs)
{
	place->regs = regs;
}

static __always_inline void on_system_call(__u64 socket, __u32 fd)
{
	begin_call(socket, fd);
}

/* Only where something is emitted: it takes a look at the registers. */
static __always_inline void on_call(const struct place *place)
{
	if (place->sk)
		begin_call((__u64)place->sk, place->regs ? place->regs->di : KILN_TRACE_NO_FD);
}

/* Few receives of synced connections are emitted. */
static __always_inline void on_receive_at_socket(const struct place *place, const struct connection *x)
{
	if (x->sync != SYNCED || !emits_few())
		on_call(place);
}

static __always_inline void on_carrier(__u64 id)
{
	note_carrier(id);
}

static __always_inline void on_carried_call(__u64 id, struct kiln_client_key *client, __u32 process)
{
	begin_carried_call(id, client, process);
}

static __always_inline void on_carrier_ended(__u64 id)
{
	bpf_map_delete_elem(&trace_carriers, &id);
}

static __always_inline bool observes_partial_sends(void)
{
	return true;
}

/* ---- connections --------------------------------------------------------------------------------------------- */

static __always_inline void on_connection(struct connection *x, const struct kiln_client_key *client)
{
	if (traces_client(client, client_port()))
		set_flags(x, TRACED);
}

static __always_inline void on_connection_freed(struct connection *x)
{
	if (x->flags & TRACED)
		forget_requests(x->id);
}

static __always_inline void on_unmatched(struct connection *x)
{
	lose(KILN_LOST_UNTRACED_COMMANDS, x->pending);
	x->pending = 0;
}

static __always_inline void on_subscribed(struct connection *x)
{
	note_subscriber(x);
}

static __always_inline bool observes_messages(const struct connection *x)
{
	return x->flags & SUBSCRIBER;
}

static __always_inline void on_messages_sent(struct response_reader *r)
{
	list_messages(r);
}

static __always_inline void on_messages(struct connection *x, struct connection_details *c, struct response_reader *r)
{
	emit_messages(x, c, r);
}

/* ---- requests ------------------------------------------------------------------------------------------------ */

static __always_inline void on_row(__u32 row, const struct kiln_command_key *key)
{
	classify_for_trace(row, key);
}

static __always_inline void on_unlisted(__u32 row, __u32 count)
{
	if (traces_command(row))
		lose(KILN_LOST_UNTRACED_COMMANDS, count);
}

static __always_inline void on_receive(const struct connection *x, struct request_reader *r, __u32 bytes)
{
	r->traced = capture_of(x, bytes);
}

static __always_inline void on_runs(const struct connection *x)
{
	begin_runs(x);
}

static __always_inline void on_run(
	struct connection *x, struct request_reader *r, __u32 index, __u32 row, __u32 unanswered, const struct arrived *times)
{
	requests_read(x, r, index);
	if (unanswered)
		emit_unanswered(x, row, unanswered, times->received_ns, times->arrived_ns);
}

static __always_inline void on_runs_ended(struct connection *x)
{
	all_requests_read(x);
}

static __always_inline void on_runs_unlisted(struct connection *x, __u32 count)
{
	x->sequence += count;
}

static __always_inline void on_batch(struct batch *batch, __u32 sequence, __u32 first)
{
	batch->sequence = sequence;
	batch->first = first;
}

static __always_inline void on_single_request(struct connection *x, struct request_reader *r)
{
	only_request_read(x, r);
}

static __always_inline void on_single_run(struct connection *x, struct request_reader *r)
{
	only_run_read(x, r);
}

static __always_inline void on_request_begun(struct connection *x, struct request_reader *r)
{
	capture_begun_request(x, r);
}

static __always_inline bool observes_each(__u32 row)
{
	return !emits_few() && traces_command(row);
}

static __always_inline bool observes_sequences(void)
{
	return true;
}

static __always_inline bool observes_blocking(void)
{
	return false;
}

/* ---- responses ----------------------------------------------------------------------------------------------- */

static __always_inline void on_responses(const struct connection *x, const struct connection_details *c, bool in_part)
{
	choose_listing(x, c, in_part);
}

static __always_inline void on_send(bool resumed)
{
	begin_list(resumed);
}

static __always_inline void on_send_piece(__u64 vector)
{
	set_vector(vector);
}

static __always_inline void on_pushes(struct connection *x, const struct response_reader *r)
{
	if (r->lists)
		emit_pushes(x);
}

static __always_inline void on_run_answered(
	struct connection *x, struct connection_details *c, __u32 row, __u32 count, const struct batch *batch)
{
	answered(x, row, batch->sequence + c->batch_answered, count, batch);
	c->batch_answered += count;
}

static __always_inline void on_single_answered(struct connection *x)
{
	answered_one(x);
}

static __always_inline void on_unlisted_answered(__u32 count)
{
	pass_replies(count);
}

static __always_inline void on_responses_ended(struct connection *x, struct connection_details *c)
{
	emit_answers(x);
	capture_rest(x, c);
}

static __always_inline void on_only_response(const struct place *place, struct connection *x, __u64 buffer, __u32 bytes)
{
	if (!is_traced(x))
		return;
	if (emits_answered(x)) {
		on_call(place);
		emit_only_answer(x, buffer, bytes);
	}
	forget_answered(x, 1);
}

static __always_inline void on_only_run_answered(struct connection *x)
{
	if (is_traced(x))
		forget_answered(x, x->run_count);
}

static __always_inline bool observes_run(const struct connection *x)
{
	return is_traced(x) && emits_answered(x);
}

static __always_inline bool observes_responses(void)
{
	return true;
}

#endif
