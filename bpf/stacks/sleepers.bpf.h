/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The stacks of threads that sleep: a program that user space runs over all tasks of the host. Linux 5.19 and later.
 *
 * It runs when the switches are watched: waits that began before begin now, with the stacks that the threads have. And it runs when user space
 * has read the mappings of a process, for the waits of its threads whose stacks ended in code that was not known. */
#ifndef KILN_SLEEPERS_BPF_H
#define KILN_SLEEPERS_BPF_H

#include "stacks/off_cpu.bpf.h"

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

/* The code that ended the stack was mapped a moment before, and user space knows it a moment later. */
static __always_inline bool is_passing(__u32 end)
{
	return end == KILN_END_NO_PROCESS || end == KILN_END_NO_MAPPING;
}

/* A wait that began in the session has its whole stack now. */
static __always_inline void complete_stack(
	struct kiln_waiting *wait, __u64 began, struct kiln_stack_stats *stats, const struct kiln_stack *stack)
{
	__u32 before = wait->end, end = stack->end;

	barrier_var(before); /* or clang reads them again after the checks */
	barrier_var(end);
	if (wait->began_ns != began || before >= KILN_END_COUNT || end >= KILN_END_COUNT)
		return;
	wait->key = stack->key;
	wait->end = end;
	__sync_fetch_and_add(&stats->guessed, (__u64)(stack->guessed != 0) - (wait->is_guessed != 0));
	wait->is_guessed = stack->guessed != 0;
	__sync_fetch_and_add(&stats->ends[before], -1); /* of this CPU's copy: the sum is right */
	__sync_fetch_and_add(&stats->ends[end], 1);
}

static __always_inline void begin_earlier_wait(struct kiln_stack *stack, const struct kiln_known_work *known,
	struct kiln_stack_stats *stats, struct task_struct *task, __u32 state)
{
	__u64 now = bpf_ktime_get_ns();
	struct kiln_waiting *wait = wait_of(task->pid);

	if (!wait) {
		lose(KILN_LOST_WAITING_MAP_FULL, 1);
		return;
	}
	if (wait->key.hash) /* it has left the CPU meanwhile */
		return;
	start_wait(wait, stack, known, state, now);
	wait->is_earlier = 1;
	count_in(IN_TASK, &stats->seen); /* atomic, so the wait is seen by other CPUs before the state is read */
	count_recorded(IN_TASK, stats, stack);
	/* One that has woken or ended meanwhile has passed the programs that end its wait. It may be in the next one already. */
	if (!BPF_CORE_READ(task, __state) || BPF_CORE_READ(task, __state) & TASK_GONE)
		__sync_val_compare_and_swap(&wait->began_ns, now, 0);
}

static __always_inline void take_sleeper(
	struct kiln_stack *stack, struct unwinding *u, struct kiln_known_work *known, struct task_struct *task, __u32 state)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	__u32 tid = task->pid;
	struct kiln_waiting *wait = bpf_map_lookup_elem(&waiting, &tid);
	__u64 began = wait ? wait->began_ns : 0;
	struct kiln_stack_stats *stats;

	if (wait && !(began && is_passing(wait->end)))
		return;
	stats = identify_wait(stack, task, state, task->__state);
	if (!stats)
		return;
	find_work(known, task, stack->key.process);
	if (is_left_out(known))
		return;
	copy_stack(u, task, regs->sp);
	take_stack(stack, u, task, bpf_get_task_stack(task, stack->frames, KERNEL_STACK_BYTES, 0));
	u->copied_bytes = 0;
	if (!know_stack(stack, u, NULL))
		return;
	if (wait)
		complete_stack(wait, began, stats, stack);
	else
		begin_earlier_wait(stack, known, stats, task, state);
}

SEC("iter.s/task")
int sleepers(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	__u32 where = IN_TASK, state;
	struct kiln_stack *stack = bpf_map_lookup_elem(&stack_scratch, &where);
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);
	struct work_scratch *work = bpf_map_lookup_elem(&work_scratch, &where);

	if (!task || !stack || !u || !work || !task->__state || task->__state & TASK_GONE)
		return 0;
	if (task->on_cpu || !claim_scratch(where)) /* on a CPU: about to sleep, which the switch will see */
		return 0;
	state = wait_state(false, task->__state);
	if (state != KILN_WAIT_RUNNABLE)
		take_sleeper(stack, u, &work->known, task, state);
	release_scratch(where);
	return 0;
}

#endif
