/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What each thread of a server works on, and the stacks that wait until that is known. The maps are shared: what follows requests writes
 * (decisions.bpf.h), what takes stacks reads (held_stacks.bpf.h).
 *
 *   epoll_wait ... | receive | execution ... | send | ... epoll_wait
 *      loop          read       exec           reply
 *
 * Between a receive and the next call a thread executes the command that it has received: known at once. What a receive or a send does, and
 * what comes before one after a send or at the beginning of a turn, is known when that call returns: a read belongs to the request that it
 * brings, a write to the reply that it hands over. Where the next turn of the event loop begins first, it was the loop's own work. */
#ifndef KILN_WORK_BPF_H
#define KILN_WORK_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"

#define OTHERS_QUIET_NS 1000000000ULL /* after another thread's receive, executions are unknown for so long */

const volatile struct kiln_work_options work_options SEC(".rodata.work");

/* Key: slot. User space makes it, and the next two, for all objects of a session. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_WORK_SLOTS);
	__type(key, __u32);
	__type(value, struct kiln_work);
} work SEC(".maps");

/* Key: tid of a thread that receives or sends and is not its process's main one; value: its slot, KILN_WORK_SLOTS if none is left. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_WORK_THREADS);
	__type(key, __u32);
	__type(value, __u32);
} work_slots SEC(".maps");

/* Key: slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_WORK_SLOTS);
	__type(key, __u32);
	__type(value, struct kiln_held_stacks);
} held_stacks SEC(".maps");

/* Whether a label is of a call that may be asked for. */
static __always_inline bool is_of_call(__u16 label)
{
	__u32 activity = kiln_label_activity(label);

	return activity >= KILN_ACTIVITY_EXEC && activity <= KILN_ACTIVITY_READ &&
		label >> KILN_LABEL_VERDICT_SHIFT != KILN_VERDICT_LEFT_OUT;
}

/* What becomes of held stacks that turn out to wait for no reply. */
static __always_inline __u32 fate_without_call(void)
{
	return work_options.judged ? KILN_HELD_DROPPED : KILN_HELD_KEPT;
}

/* A held stack leaves the state in which it waits for a decision. False: another program was first. */
static __always_inline bool move_on(struct kiln_held_stack *stack, struct kiln_work *w, __u32 from, __u32 to)
{
	if (__sync_val_compare_and_swap(&stack->state, from, to) != from)
		return false;
	__sync_fetch_and_add(&w->held, -1);
	return true;
}

/* The slot of a thread; KILN_WORK_SLOTS: it has none. `known`: whether it receives or sends. */
static __always_inline __u32 slot_of(const struct task_struct *task, __u32 process, bool *known)
{
	__u32 tid = task->pid, *slot;

	*known = true;
	if (task->pid == task->tgid)
		return process;
	slot = bpf_map_lookup_elem(&work_slots, &tid);
	*known = slot;
	return slot ? *slot : KILN_WORK_SLOTS;
}

#endif
