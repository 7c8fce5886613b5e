/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A receive on the server's side: its requests are counted, and await their replies. */
#ifndef KILN_RECEIVES_BPF_H
#define KILN_RECEIVES_BPF_H

#include "common/bpf.h"
#include "requests/connection_details.bpf.h"
#include "requests/lifetimes.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/sync.bpf.h"
#include "requests/watch.bpf.h"

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
	followed = x->sync == SYNCED && !(x->flags & IN_REQUEST) && !receive->io.loss && !receive->gap && is_of_slice(x);
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
	if (may_leave_out() && receive->resumed && inside && c && c->requests.state >= STREAM_FAILED) {
		/* It only looked like a request. */
		x->sync = RESYNCING;
		return;
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

		if (observes_blocking() && watches_all_connections() && executes && times->arrived_ns &&
			times->received_ns - times->arrived_ns >= WAIT_LEAST_NS && executor->last_span_end_ns > times->arrived_ns)
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

#endif
