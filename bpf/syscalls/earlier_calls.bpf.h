/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Calls that began before the session: a program that runs over all tasks, before calls are seen, marks the members. A marked thread's first return
 * without an entry is that of such a call.
 *
 * Limit: if the thread was in none, and seccomp or a tracer skips its first call, that one is taken for it. */
#ifndef KILN_EARLIER_CALLS_BPF_H
#define KILN_EARLIER_CALLS_BPF_H

#include "common/losses.bpf.h"
#include "common/members.bpf.h"
#include "syscalls/in_flight.bpf.h"

/* `loss`: of a thread with which nothing can be kept. */
static __always_inline void note_earlier_call(struct task_struct *task, const volatile struct kiln_chosen_calls *calls, __u32 loss)
{
	struct call_in_flight *flight;
	struct membership member;

	if (!task || task->flags & PF_NO_CALLS || is_own(calls, task) || !find_membership(&member, task))
		return;
	flight = follow_calls(task);
	if (!flight) {
		lose(loss, 1);
		return;
	}
	flight->is_member = 1;
	flight->state = FLIGHT_EARLIER;
}

#endif
