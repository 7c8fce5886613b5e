/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The server's side of a connection: a receive and a send are followed, and say what their thread works on. Hooks call connection_receives() and
 * connection_sends(). */
#ifndef KILN_COMMANDS_BPF_H
#define KILN_COMMANDS_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "requests/readers.bpf.h"
#include "requests/receives.bpf.h"
#include "requests/sends.bpf.h"
#include "requests/watch.bpf.h"

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

/* ---- what isn't watched -------------------------------------------------------------------------------------- */

/* The current thread has received or sent what isn't watched, while it executed what is, or where its stacks have labels. `send_began_ns`: 0: it has
 * received. */
__noinline int passes_unwatched(__u32 process, __u64 send_began_ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_counts thread = { task->nvcsw, task->sched_info.run_delay };
	struct work_event event = { .label = KILN_LABEL(KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_NOT_WATCHED) };
	struct connection unwatched = { .process = process };
	struct executor *e = executor_of(process);
	__u64 now = bpf_ktime_get_ns();
	struct kiln_work *w;
	__u32 slot = 0;

	if (!e)
		return 0;
	if (!send_began_ns)
		thread_receives(e, process, task, &thread, now, now);
	else
		process_sends(&unwatched, task, send_began_ns, now);
	w = work_options.followed ? own_work(task, process, &slot) : NULL;
	if (!w)
		return 0;
	event.process = process;
	event.call = send_began_ns ? KILN_CALL_SEND : KILN_CALL_RECEIVE;
	w->kept_ns = 0;
	work_goes_on(w, slot, &event, send_began_ns ? 0 : event.label, now);
	return 0;
}

/* As short as can be: most calls are of this kind where little is watched. */
static __always_inline void leave_out(const struct task_struct *task, __u32 process, __u64 send_began_ns)
{
	const struct executor *e = executor_of(process);

	if (e && (e->id || work_options.followed || (!send_began_ns && task->pid != task->tgid)))
		passes_unwatched(process, send_began_ns);
}

static __always_inline void leave_out_send(const struct task_struct *task, __u64 began_ns)
{
	int process = target_index(task->tgid);

	if (process >= 0)
		leave_out(task, process, began_ns ? began_ns : bpf_ktime_get_ns());
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
	if (kiln_kept_label(label) == KILN_LABEL(KILN_ACTIVITY_REPLY, KILN_LABEL_SEVERAL)) {
		event.label = call_label(x, KILN_ACTIVITY_REPLY, r->answered_row & KILN_LABEL_SEVERAL);
		event.received_ns = r->answered_received_ns;
	}
	if (r->batches_answered) {
		const struct answered_batch *last = &r->batches[(r->batches_answered - 1) & (ANSWERED_BATCHES - 1)];

		if (stacks_are_held(w, x->process, slot))
			pass_verdicts(x, slot);
		if (last->received_ns >= event.received_ns) {
			event.verdict = last->verdict + 1;
			event.service_ns = service_of_call(x, last->row, last->received_ns);
		}
	}
	work_goes_on(w, slot, &event, 0, now);
	return 0;
}

static __always_inline void connection_sends(
	const struct place *place, struct connection *x, const struct io *send, struct task_struct *task)
{
	__u64 received_ns = x->received_ns;
	struct response_reader *r = NULL;
	__u32 zero = 0;
	__u16 label = 0;

	if (work_options.followed) {
		label = label_of_send(x);
		r = bpf_map_lookup_elem(&response_readers, &zero);
	}
	if (r) {
		r->answered_row = KILN_LABEL_SEVERAL;
		r->answered_received_ns = received_ns;
		r->batches_answered = r->blocked_ns = 0;
	}
	follow_send(place, x, send, task);
	if (work_options.followed)
		work_sends(x, label, received_ns, send->returned_ns);
}

#endif
