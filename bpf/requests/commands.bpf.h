/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The server's side of a connection: what each receive and send means. Hooks call connection_receives() and connection_sends(). */
#ifndef KILN_COMMANDS_BPF_H
#define KILN_COMMANDS_BPF_H

#include "common/bpf.h"
#include "requests/connection_details.bpf.h"
#include "requests/lifetimes.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/sync.bpf.h"

/* ---- receive ----------------------------------------------------------------------------------------------- */

/* Requests go in flight in the pipeline: different ones of one receive, ones that come while others are in flight, or ones that are not ordinary. */
static __always_inline void await_replies(
	const struct place *place, struct connection *x, struct request_reader *r, const struct arrived *times)
{
	struct connection_details *c = NULL;

	note_run(r);
	on_runs(x);
	if (!(x->flags & UNMATCHED)) {
		c = details_at(place);
		if (!c) {
			lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
			unmatch(x);
		}
	}
	if (c)
		await_runs(x, r, c, times);
	else
		count_runs(x, r, times);
}

static __always_inline void count_receive(__u32 client, const struct request_reader *r, __u32 bytes)
{
	struct kiln_client_stats *stats = bpf_map_lookup_elem(&client_stats, &client);

	if (!stats)
		return;
	stats->commands += r->commands_noted + r->run_count;
	stats->received_bytes += bytes;
}

static __always_inline void count_send(__u32 client, __u32 bytes)
{
	struct kiln_client_stats *stats = bpf_map_lookup_elem(&client_stats, &client);

	if (stats)
		stats->sent_bytes += bytes;
}

/* A receive was parsed without counting; its last run has `requests`. */
static __noinline void probed(const struct place *place, struct connection *x, __u32 bytes, __u32 requests)
{
	struct connection_details *c;

	lose(KILN_LOST_UNSYNCHRONISED_BYTES, bytes);
	if (!requests)
		return;
	set_flags(x, PROBED);
	/* Lines of text to other processes look like requests: their responses decide. */
	c = is_known_server(x->process) ? details_at(place) : NULL;
	if (c)
		c->failed_probes = 0;
}

/* Says in `receive` what the thread works on. */
static __always_inline void follow_receive(
	const struct place *place, struct connection *x, struct receive *receive, struct task_struct *task, __u32 process)
{
	__u32 zero = 0;
	struct request_reader *r;
	struct connection_details *c = NULL;
	struct thread_counts thread = { task->nvcsw, task->sched_info.run_delay };
	struct arrived *times = &receive->times;
	struct executor *executor = executor_of(process);
	int outcome = READ_MORE;
	bool executes, followed, inside = false;

	if (!executor) /* never: there is one for each target */
		return;
	times->received_ns = receive->io.returned_ns;
	executes = thread_receives(
		executor, process, task, &thread, receive->io.began_ns ? receive->io.began_ns : times->received_ns, times->received_ns);
	if (x->waiting != WAITING_ONE && x->waiting != WAITING_RUN)
		x->received_ns = times->received_ns;
	followed = x->sync == SYNCED && !(x->flags & IN_REQUEST) && !receive->io.loss && !receive->gap;
	if (!followed)
		followed = take_up(place, x, receive, process);
	x->copied_seq = receive->copied_seq;
	if (!followed)
		return;
	times->arrived_ns = receive->io.arrived_ns > ARRIVAL_UNKNOWN && receive->io.arrived_ns <= times->received_ns
		? receive->io.arrived_ns
		: 0;
	r = bpf_map_lookup_elem(&request_readers, &zero);
	if (!r)
		return;
	clear_flags(x, REPLIED | SENT_IN_PART);
	r->process = process;
	r->counting = x->sync == SYNCED;
	on_receive(x, r, receive->io.length);
	if (x->flags & IN_REQUEST)
		c = details_at(place);
	if (c) {
		resume_receive(r, &c->requests, receive->io.base, receive->io.length);
		read_requests(r, &c->requests);
		inside = !requests_at_boundary(&c->requests);
	} else {
		outcome = read_run(r, receive->io.base, receive->io.length);
		if (outcome == READ_UNREADABLE) {
			desync(x);
			return;
		}
		if (outcome == READ_MORE) {
			restart_requests(&r->stream);
			read_requests(r, &r->stream);
			inside = !requests_at_boundary(&r->stream);
		}
		if (inside) {
			c = details_at(place);
			if (!c) {
				lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
				desync(x);
				return;
			}
			c->requests = r->stream;
		}
	}
	if (outcome != READ_ONE_RUN)
		change_flags(x, IN_REQUEST, inside);
	if (!r->counting) {
		probed(place, x, receive->io.length, r->run_count);
		return;
	}
	count_receive(x->client, r, receive->io.length);
	if (c && command_begun(&c->requests) != KILN_LABEL_SEVERAL)
		receive->reads = receive->then = call_label(x, KILN_ACTIVITY_READ, command_begun(&c->requests));
	if (r->run_count) {
		__u32 command = r->run_command;
		bool equal = !r->commands_noted, alone = equal && r->run_count == 1;
		__u16 row = equal ? command : KILN_LABEL_SEVERAL;
		bool each = observes_each(command);

		receive->reads = call_label(x, KILN_ACTIVITY_READ, row);
		receive->then = executes ? call_label(x, KILN_ACTIVITY_EXEC, row)
					 : KILN_LABEL(KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_IO_THREADS);

		if (observes_blocking() && executes && times->arrived_ns && times->received_ns - times->arrived_ns >= WAIT_LEAST_NS &&
			executor->last_span_end_ns > times->arrived_ns)
			attribute_waits(r, times->arrived_ns, times->received_ns);
		if (alone && x->waiting == WAITING_NONE && !(x->flags & (UNMATCHED | MAY_GET_NO_RESPONSE)) &&
			is_answered_once(row_class(command))) {
			count_calls(x, command, 1, r->run_largest, times);
			await_one(x, command, times);
			on_single_request(x, r);
			asm volatile("" ::: "memory"); /* a send on another CPU sees the rest before it sees that one waits */
			x->waiting = WAITING_ONE;
		} else if (!each && equal && x->waiting == WAITING_NONE && !(x->flags & (UNMATCHED | MAY_GET_NO_RESPONSE)) &&
			row_class(command) == KILN_CLASS_ORDINARY) {
			count_calls(x, command, r->run_count, r->run_largest, times);
			await_one(x, command, times);
			x->run_count = r->run_count;
			on_single_run(x, r);
			asm volatile("" ::: "memory"); /* likewise */
			x->waiting = WAITING_RUN;
		} else {
			await_replies(place, x, r, times);
			x->received_ns = times->received_ns;
		}
		if (executes)
			execution_begins(executor, x, equal ? command : KILN_SEVERAL_COMMANDS);
	}
	if (!c || !(x->flags & IN_REQUEST))
		return;
	if (c->requests.state < STREAM_FAILED) {
		on_request_begun(x, r);
		return;
	}
	if (c->requests.state == STREAM_FAILED && receive->first && !r->run_count) {
		lose(KILN_LOST_OTHER_PROTOCOL_CONNECTIONS, 1);
		x->sync = SYNC_IGNORED;
		return;
	}
	if (c->requests.state == STREAM_FAILED)
		lose(KILN_LOST_PROTOCOL_ERRORS, 1);
	desync(x);
}

/* The label of what can't be followed. */
static __always_inline __u16 unfollowed(const struct connection *x)
{
	return KILN_LABEL(KILN_ACTIVITY_UNKNOWN, x->flags & OUTGOING ? KILN_UNKNOWN_OUTGOING : KILN_UNKNOWN_NOT_FOLLOWED);
}

/* The current thread has received: what it works on. In a function, for its stack. */
__noinline int work_receives(struct connection *x, const struct receive *receive, __u32 process)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct work_event event = { .call = KILN_CALL_RECEIVE };
	__u32 slot = 0;
	struct kiln_work *w = own_work(task, process, &slot);

	if (!x || !receive || !w)
		return 0;
	event.process = process;
	event.connection = x->id;
	event.received_ns = receive->io.returned_ns;
	event.label = receive->reads;
	w->kept_ns = kept_from(receive->then, receive->io.returned_ns);
	work_goes_on(w, slot, &event, receive->then, receive->io.returned_ns);
	return 0;
}

static __always_inline void connection_receives(
	const struct place *place, struct connection *x, struct receive *receive, struct task_struct *task, __u32 process)
{
	receive->reads = 0;
	follow_receive(place, x, receive, task, process);
	if (!receive->reads)
		receive->reads = receive->then = unfollowed(x);
	if (work_options.followed)
		work_receives(x, receive, process);
}

/* ---- send -------------------------------------------------------------------------------------------------- */

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
	if (!(x->flags & IN_REPLY))
		__builtin_memset(&c->replies, 0, sizeof c->replies);
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
			unmatch(x);
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

/* The label of a send, before it is followed. KILN_LABEL_SEVERAL in place of a row: the response reader will know. */
static __always_inline __u16 label_of_send(const struct connection *x)
{
	if (x->sync != SYNCED)
		return unfollowed(x);
	if (x->flags & UNMATCHED || x->waiting == WAITING_NONE)
		return KILN_LABEL(KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_UNMATCHED);
	return call_label(x, KILN_ACTIVITY_REPLY, x->waiting == WAITING_PIPELINE ? KILN_LABEL_SEVERAL : command_in_flight(x));
}

/* The current thread has sent, likewise. `label`: of what was in flight before, received at `received_ns`. */
__noinline int work_sends(struct connection *x, __u32 label, __u64 received_ns, __u64 now)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct work_event event = { .call = KILN_CALL_SEND };
	const struct response_reader *r;
	__u32 zero = 0, slot = 0;
	struct kiln_work *w;

	if (!x || task->tgid != (int)targets.tgids[x->process & (KILN_MAX_TARGETS - 1)]) /* any process may send */
		return 0;
	w = own_work(task, x->process, &slot);
	r = bpf_map_lookup_elem(&response_readers, &zero);
	if (!w || !r)
		return 0;
	event.process = x->process;
	event.connection = x->id;
	event.label = label;
	event.received_ns = received_ns;
	if (label == call_label(x, KILN_ACTIVITY_REPLY, KILN_LABEL_SEVERAL)) {
		event.label = call_label(x, KILN_ACTIVITY_REPLY, r->answered_row & KILN_LABEL_SEVERAL);
		event.received_ns = r->answered_received_ns;
	}
	if (work_options.judged) {
		w->verdict = 0;
		pass_verdicts(x, w, slot);
		if (w->verdict && w->judged_ns >= event.received_ns)
			event.verdict = w->verdict;
	}
	work_goes_on(w, slot, &event, 0, now);
	return 0;
}

static __always_inline void connection_sends(
	const struct place *place, struct connection *x, const struct io *send, struct task_struct *task)
{
	struct response_reader *r = judging_reader();
	__u64 received_ns = x->received_ns;
	__u16 label = 0;

	if (r)
		r->batches_answered = r->blocked_ns = 0;
	if (work_options.followed)
		label = label_of_send(x);
	follow_send(place, x, send, task);
	if (work_options.followed)
		work_sends(x, label, received_ns, send->returned_ns);
}

#endif
