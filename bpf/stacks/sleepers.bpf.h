/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Threads that sleep when the session begins: their waits begin now, with the stacks that they have. A program that user space runs once over
 * all tasks of the host, after the switches are watched. Linux 5.19 and later. */
#ifndef KILN_SLEEPERS_BPF_H
#define KILN_SLEEPERS_BPF_H

#include "stacks/off_cpu.bpf.h"

#define EEXIST 17
#define COPY_STEP 1024 /* bytes: a page has them all, or none */

/* Copies the innermost part of the stack, up to where it can't be read. */
static __always_inline void copy_stack(struct unwinding *u, struct task_struct *task, __u64 stack_pointer)
{
	__u64 from = stack_pointer & -(__u64)COPY_STEP;
	__u32 zero = 0, i;
	__u8 *copy = bpf_map_lookup_elem(&stack_copy, &zero);

	u->copied_at = from;
	u->copied_bytes = COPY_STEP; /* zeros, where there is nothing */
	if (!copy)
		return;
	for (i = 0; i < KILN_STACK_COPY_BYTES / COPY_STEP; i++) {
		if (bpf_copy_from_user_task(copy + i * COPY_STEP, COPY_STEP, (void *)(from + i * COPY_STEP), task, 0))
			break;
		u->copied_bytes = (i + 1) * COPY_STEP;
	}
}

static __always_inline void begin_earlier_wait(struct kiln_stack *stack, struct unwinding *u, struct task_struct *task, __u32 state)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	struct kiln_stack_stats *stats = identify_wait(stack, task, state);
	struct kiln_waiting wait;
	__u32 tid = task->pid;
	long error;

	if (!stats)
		return;
	count_in(IN_TASK, &stats->seen);
	copy_stack(u, task, regs->sp);
	take_stack(stack, u, task, bpf_get_task_stack(task, stack->frames, KERNEL_STACK_BYTES, 0));
	u->copied_bytes = 0;
	if (!know_stack(stack, u))
		return;
	wait = a_wait(stack, state, bpf_ktime_get_ns());
	wait.is_earlier = 1;
	/* A thread that has left the CPU since the switches are watched has an entry. */
	error = bpf_map_update_elem(&waiting, &tid, &wait, BPF_NOEXIST);
	if (!error)
		count_recorded(IN_TASK, stats, stack);
	else if (error != -EEXIST)
		lose(KILN_LOST_WAITING_MAP_FULL, 1);
	/* One that has woken or ended meanwhile has passed the programs that end its wait. */
	if (!error && (!BPF_CORE_READ(task, __state) || BPF_CORE_READ(task, __state) & TASK_GONE))
		bpf_map_delete_elem(&waiting, &tid);
}

SEC("iter.s/task")
int sleepers(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	__u32 where = IN_TASK, state;
	struct kiln_stack *stack = bpf_map_lookup_elem(&stack_scratch, &where);
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);

	if (!task || !stack || !u || !task->__state || task->__state & TASK_GONE || !claim_scratch(where))
		return 0;
	state = wait_state(false, task->__state);
	if (state != KILN_WAIT_RUNNABLE)
		begin_earlier_wait(stack, u, task, state);
	release_scratch(where);
	return 0;
}

#endif
