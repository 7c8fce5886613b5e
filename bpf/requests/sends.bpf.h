/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A send on the server's side: which requests it answers. */
#ifndef KILN_SENDS_BPF_H
#define KILN_SENDS_BPF_H

#include "common/bpf.h"
#include "requests/connection_details.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/receives.bpf.h"
#include "requests/sync.bpf.h"

static __always_inline void count_send(__u32 client, __u32 bytes)
{
	struct kiln_client_stats *stats = bpf_map_lookup_elem(&client_stats, &client);

	if (stats)
		stats->sent_bytes += bytes;
}

/* Of the requests in the pipeline, the first one that the send may answer. */
static __always_inline void note_first_answered(const struct connection *x, struct connection_details *c)
{
	__u32 zero = 0, head = c->head, batch = c->batch_head;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);

	if (!r || x->waiting != WAITING_PIPELINE)
		return;
	barrier_var(head);
	barrier_var(batch);
	r->answered_row = c->runs[head & (PIPELINE_RUNS - 1)].command & ~QUEUED;
	r->answered_received_ns = c->batches[batch & (PIPELINE_BATCHES - 1)].received_ns;
}

/* A send of any form: several responses, incomplete or large ones, errors. */
static __always_inline void send_responses(const struct place *place, struct connection *x, const struct io *send)
{
	struct connection_details *c = details_at(place);

	if (!c) {
		unmatch(x);
		return;
	}
	if (x->waiting == WAITING_RUN)
		join_pipeline(c, x);
	on_call(place);
	if (!(x->flags & IN_REPLY)) {
		__builtin_memset(&c->replies, 0, sizeof c->replies);
		if (may_leave_out())
			c->first_sent_ns = 0;
	}
	on_responses(x, c, send->in_part);
	read_send(c, send);
	note_first_answered(x, c);
	match_responses(x, c);
	on_responses_ended(x, c);
}

/* A send to a connection on which a run waits, in one piece. As a rule it answers all of it, and nothing is cut: then the connection's
 * state is not needed. */
static __always_inline void send_to_run(const struct place *place, struct connection *x, const struct io *send)
{
	__u32 zero = 0;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);
	struct connection_details *c;

	if (!r)
		return;
	__builtin_memset(&r->stream, 0, sizeof r->stream);
	r->lists = 0;
	start_responses(r);
	read_responses(r, &r->stream, send->base, send->length);
	/* It waits alone, still: a receive on another CPU may have brought more. */
	if (x->waiting == WAITING_RUN && r->replies == x->run_count && !r->errors_listed && !r->pushes &&
		responses_at_boundary(&r->stream)) {
		on_only_run_answered(x);
		record_run(x, r->largest);
		judge_calls(x, r, command_in_flight(x), x->run_count, x->received_ns, false);
		return;
	}
	if (observes_responses()) {
		/* Once more, unless that has been counted as lost. */
		if (r->stream.state == STREAM_FAILED)
			lose_match(x);
		else
			send_responses(place, x, send);
		return;
	}
	c = details_at(place);
	if (!c) {
		unmatch(x);
		return;
	}
	join_pipeline(c, x);
	c->replies = r->stream;
	note_first_answered(x, c);
	match_responses(x, c);
}

/* A send on a connection that is no longer matched, whose messages are observed. */
static __always_inline void send_messages(const struct place *place, struct connection *x, const struct io *send)
{
	__u32 zero = 0;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);
	struct connection_details *c = details_at(place);

	if (!c || !r) {
		clear_flags(x, SUBSCRIBER);
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		return;
	}
	if (!(x->flags & IN_REPLY))
		__builtin_memset(&c->replies, 0, sizeof c->replies);
	on_call(place);
	on_messages_sent(r);
	read_send(c, send);
	on_messages(x, c, r);
}

/* Global for its small stack, as read_short_window(). */
__noinline int is_one_response_at(__u64 buffer, __u32 sent)
{
	__u64 start[2] = {};
	__u32 length = sent;

	if (length > sizeof start)
		length = sizeof start;
	barrier_var(length);
	if (length > sizeof start || bpf_probe_read_user(start, length, (void *)buffer))
		return false;
	return is_one_response((const __u8 *)start, sent);
}

static __always_inline bool sends_one_response(const struct io *send)
{
	return send->form == IO_BYTES && is_one_response_at(send->base, send->length);
}

/* Read the kept first requests of a connection into the reader, as those of a receive. */
__noinline int read_undecided(struct connection *x, struct request_reader *r, struct connection_details *c, struct arrived *times)
{
	struct undecided *kept;
	__u32 length;
	__u64 id;

	if (!x || !r || !c || !times)
		return false;
	id = x->id;
	kept = bpf_map_lookup_elem(&undecided, &id);
	if (!kept)
		return false;
	times->arrived_ns = kept->arrived_ns;
	times->received_ns = kept->received_ns;
	length = kept->length;
	barrier_var(length);
	if (length > WINDOW_BYTES)
		return false;
	r->process = x->process;
	r->counting = true;
	on_receive(x, r, length);
	start_receive(r, 0, length, 0);
	bpf_probe_read_kernel(r->bytes, length, kept->bytes);
	r->window_length = length;
	forget_undecided(x->id);
	x->sync = SYNCED;
	restart_requests(&c->requests);
	read_requests(r, &c->requests);
	if (!requests_at_boundary(&c->requests))
		set_flags(x, IN_REQUEST);
	count_receive(x->client, r, length);
	if (r->run_count)
		note_run(r);
	on_runs(x);
	return true;
}

/* While resyncing: the server has sent something. */
static __always_inline void note_probed_reply(struct connection *x, bool in_part)
{
	set_flags(x, REPLIED);
	change_flags(x, SENT_IN_PART, in_part);
}

/* A large send, or one that the socket took in part, may be a piece of a response: it is parsed, and what goes on with it, until the response
 * ends where a send does. */
static __always_inline void probe_reply(const struct place *place, struct connection *x, const struct io *send)
{
	struct connection_details *c = send->in_part || x->flags & IN_REPLY ? details_at(place) : NULL;
	bool in_part = send->in_part, inside = false;

	if (c) {
		if (!(x->flags & IN_REPLY))
			__builtin_memset(&c->replies, 0, sizeof c->replies);
		read_send(c, send);
		inside = c->replies.state != STREAM_FAILED && !responses_at_boundary(&c->replies);
		if (c->replies.state != STREAM_FAILED)
			in_part = inside;
	}
	change_flags(x, IN_REPLY, inside);
	note_probed_reply(x, in_part);
}

/* A send on a connection that is not synced. Returns the connection's details if it is the first response to the bytes that are kept, and of
 * this protocol; else NULL. The caller goes on from there, because calls nest eight deep at most. */
static __noinline struct connection_details *first_reply(const struct place *place, struct connection *x, const struct io *send)
{
	struct connection_details *c;
	bool is_reply;

	if (x->sync != RESYNCING && x->sync != SYNC_UNDECIDED)
		return NULL;
	is_reply = is_known_server(x->process) || begins_as_response(send);
	if (x->sync == RESYNCING) {
		/* What goes on with a long reply begins as anything does. */
		is_reply |= x->flags & REPLIED;
		note_probed_reply(x, send->in_part);
		if (is_known_server(x->process))
			return NULL;
		c = details_at(place);
		if (is_reply) {
			if (c)
				c->failed_probes = 0;
			return NULL;
		}
		clear_flags(x, REPLIED);
		if (c && ++c->failed_probes >= PROBES_MAX) {
			lose(KILN_LOST_OTHER_PROTOCOL_CONNECTIONS, 1);
			x->sync = SYNC_IGNORED;
		}
		return NULL;
	}
	if (send->form == IO_UNKNOWN) {
		lose(KILN_LOST_UNSUPPORTED_SENDS, 1);
		desync(x);
		return NULL;
	}
	if (!is_reply) {
		lose(KILN_LOST_OTHER_PROTOCOL_CONNECTIONS, 1);
		x->sync = SYNC_IGNORED;
		forget_undecided(x->id);
		return NULL;
	}
	c = details_at(place);
	if (!c) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		desync(x);
	}
	return c;
}

static __always_inline void follow_send(const struct place *place, struct connection *x, const struct io *send, struct task_struct *task)
{
	__u32 zero = 0;

	process_sends(x, task, send->began_ns, send->returned_ns);
	if (x->sync != SYNCED && all_are_known_servers()) {
		probe_reply(place, x, send);
		return;
	}
	if (x->sync != SYNCED) {
		struct connection_details *c = first_reply(place, x, send);
		struct request_reader *r = c ? bpf_map_lookup_elem(&request_readers, &zero) : NULL;
		struct arrived times = {};

		if (!c || !r || !read_undecided(x, r, c, &times))
			return;
		await_runs(x, r, c, &times);
		if (c->requests.state >= STREAM_FAILED) {
			lose(KILN_LOST_PROTOCOL_ERRORS, 1);
			desync(x);
			return;
		}
	}
	x->sent_ns = send->returned_ns;
	count_send(x->client, send->length);
	if (x->flags & UNMATCHED) {
		if (observes_messages(x))
			send_messages(place, x, send);
		return;
	}
	if (x->waiting == WAITING_ONE && !(x->flags & IN_REPLY) && sends_one_response(send)) {
		on_only_response(place, x, send->base, send->length);
		record_answer(x, x->sent_ns, send->length, false);
		judge_calls(x, judging_reader(), command_in_flight(x), 1, x->received_ns, false);
		return;
	}
	if (x->waiting == WAITING_RUN && !(x->flags & IN_REPLY) && send->form == IO_BYTES && !observes_run(x)) {
		send_to_run(place, x, send);
		return;
	}
	send_responses(place, x, send);
}

#endif
