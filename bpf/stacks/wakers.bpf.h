/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who ends a wait: the thread that wakes another one, of any process, or an interrupt. Part of off_cpu.bpf.h.
 *
 * sched_waking runs where the waker does, with interrupts off: it follows other programs in the scratch of the scheduler. */
#ifndef KILN_WAKERS_BPF_H
#define KILN_WAKERS_BPF_H

#include "stacks/record_stack.bpf.h"

/* Preallocated: the scheduler must not allocate. Full: wakes_map_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_STACKS_CAPACITY);
	__type(key, struct kiln_wake_key);
	__type(value, struct kiln_wakes);
} wakes SEC(".maps");

/* The stacks of wakers that were sent. Full: stacks_map_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_STACKS_CAPACITY);
	__type(key, struct kiln_stack_key);
	__type(value, __u8);
} waker_stacks SEC(".maps");

/* The frames of an interrupt, the innermost `depth` ones, end where the hardware entered the kernel: what lies below is what it interrupted.
 * 0: it is none. */
static __always_inline __u32 interrupt_depth(const struct kiln_stack *stack, __u32 depth)
{
	__u32 i;

	for (i = 0; i < KILN_KERNEL_DEPTH; i++) {
		if (i >= depth)
			break;
		if (stack->frames[i] - options.interrupts_start < options.interrupts_end - options.interrupts_start)
			return i + 1;
	}
	return 0;
}

static __always_inline bool know_waker(struct kiln_stack *stack, const struct unwinding *u)
{
	__u8 known = 1;

	if (bpf_map_lookup_elem(&waker_stacks, &stack->key))
		return true;
	if (!send_frames(stack, u))
		return false;
	if (!bpf_map_update_elem(&waker_stacks, &stack->key, &known, BPF_ANY))
		return true;
	lose(KILN_LOST_STACKS_MAP_FULL, 1);
	return false;
}

/* The current thread, or an interrupt on its CPU, ends a wait. */
static __always_inline void take_waker(void *context, struct kiln_waiting *wait)
{
	__u32 where = IN_SCHEDULER, depth;
	struct kiln_stack *stack = bpf_map_lookup_elem(&stack_scratch, &where);
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);
	struct task_struct *task = bpf_get_current_task_btf();
	struct membership member;
	long bytes;

	if (!stack || !u)
		return;
	claim_scratch(where);
	bytes = bpf_get_stack(context, stack->frames, KERNEL_STACK_BYTES, 0);
	depth = interrupt_depth(stack, bytes > 0 ? bytes / sizeof stack->frames[0] : 0);
	stack->key.kind = KILN_STACK_WAKER;
	stack->key.label = 0;
	if (depth || !task->tgid) {
		stack->key.process = stack->origin = KILN_NO_PROCESS_NUMBER;
		stack->family = KILN_NO_FAMILY;
		stack->tgid = 0;
		stack->user_depth = stack->found_count = stack->guessed = stack->python_depth = 0;
		stack->reading = 0;
		stack->end = KILN_END_COMPLETE;
		stack->thread[0] = stack->thread[1] = 0;
		u->task = (__u64)task;
		take_kernel_stack(stack, depth ? depth * sizeof stack->frames[0] : bytes);
	} else {
		find_family(&member, task);
		if (!identify_process(stack, task, &member))
			goto out;
		take_stack(stack, u, task, bytes);
	}
	if (know_waker(stack, u))
		wait->waker = stack->key;
out:
	release_scratch(where);
}

/* The thread has its CPU back. */
static __always_inline void add_wake(const struct kiln_waiting *wait, __u64 ns)
{
	struct kiln_wake_key key = { .waited = wait->key, .waker = wait->waker };
	struct kiln_wakes *sum = bpf_map_lookup_elem(&wakes, &key), first = { .ns = ns, .wakes = 1 };

	if (!sum) {
		if (!bpf_map_update_elem(&wakes, &key, &first, BPF_NOEXIST))
			return;
		sum = bpf_map_lookup_elem(&wakes, &key); /* another CPU was first */
		if (!sum) {
			lose(KILN_LOST_WAKES_MAP_FULL, 1);
			return;
		}
	}
	__sync_fetch_and_add(&sum->ns, ns);
	__sync_fetch_and_add(&sum->wakes, 1);
}

#endif
