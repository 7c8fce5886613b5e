/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Off-CPU time: a wait begins when a thread leaves the CPU and ends when it gets it back.
 *
 *   leaves the CPU         is woken              gets the CPU back
 *        |---- state of the wait ----|---- runnable ----|
 *
 * A thread that was preempted, or gave up the CPU while it could run on, is runnable at once. The stack is that of the switch. */
#ifndef KILN_OFF_CPU_BPF_H
#define KILN_OFF_CPU_BPF_H

#include "stacks/known_kernel_stacks.bpf.h"
#include "stacks/wakers.bpf.h"

/* include/linux/sched.h. Other bits modify these. */
#define TASK_INTERRUPTIBLE 0x1
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_STOPPED_OR_TRACED (0x4 | 0x8)
#define TASK_NOLOAD 0x400              /* with TASK_UNINTERRUPTIBLE: a thread of the kernel that waits for work (TASK_IDLE) */
#define TASK_GONE (0x10 | 0x20 | 0x80) /* EXIT_DEAD, EXIT_ZOMBIE, TASK_DEAD */

/* Key: struct kiln_stack_key. Preallocated: the scheduler must not allocate. Full: stacks_map_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_STACKS_CAPACITY);
	__type(key, struct kiln_stack_key);
	__type(value, struct kiln_wait_times);
} wait_times SEC(".maps");

/* Key: tid. Written by the switch on the CPU that the thread leaves or gets, and by the CPU that wakes it. Full: waiting_map_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KILN_WAITING_CAPACITY);
	__type(key, __u32);
	__type(value, struct kiln_waiting);
} waiting SEC(".maps");

static __always_inline __u32 wait_state(bool preempt, unsigned int task_state)
{
	if (preempt) /* it may have been about to sleep */
		return KILN_WAIT_RUNNABLE;
	if (task_state & TASK_INTERRUPTIBLE)
		return KILN_WAIT_SLEEPING;
	if (task_state & TASK_UNINTERRUPTIBLE)
		return task_state & TASK_NOLOAD ? KILN_WAIT_SLEEPING : KILN_WAIT_UNINTERRUPTIBLE;
	return task_state & TASK_STOPPED_OR_TRACED ? KILN_WAIT_STOPPED : KILN_WAIT_RUNNABLE;
}

static __always_inline __u16 wait_label(struct task_struct *task, __u32 state, unsigned int task_state)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);

	return state == KILN_WAIT_SLEEPING && (task_state & TASK_NOLOAD || kiln_is_multiplexer(regs->orig_ax)) ? KILN_LABEL_IDLE : 0;
}

/* Add times to the sum of a key. False: there is no room. */
static __always_inline bool add_wait_times(const struct kiln_stack_key *key, const struct kiln_wait_times *times)
{
	struct kiln_wait_times *sum = bpf_map_lookup_elem(&wait_times, key);
	__u32 i;

	if (!sum) {
		if (!bpf_map_update_elem(&wait_times, key, times, BPF_NOEXIST))
			return true;
		sum = bpf_map_lookup_elem(&wait_times, key); /* another CPU was first */
		if (!sum)
			return false;
	}
#pragma unroll
	for (i = 0; i < KILN_WAIT_STATE_COUNT; i++)
		if (times->ns[i])
			__sync_fetch_and_add(&sum->ns[i], times->ns[i]);
	if (times->waits)
		__sync_fetch_and_add(&sum->waits, times->waits);
	if (times->longest_ns > sum->longest_ns)
		sum->longest_ns = times->longest_ns;
	if (times->earlier_waits) {
		__sync_fetch_and_add(&sum->earlier_waits, times->earlier_waits);
		__sync_fetch_and_add(&sum->earlier_ns, times->earlier_ns);
	}
	return true;
}

static __always_inline bool add_sum(const struct kiln_stack_key *key, const struct kiln_wait_times *times)
{
	return key->kind == KILN_STACK_OFF_CPU ? add_wait_times(key, times) : add_weight(key, times->ns[0]);
}

/* Where there is no room for a band, the weight joins the sum of the same stack without one. */
static bool add_settled(const struct kiln_stack_key *key, const struct kiln_wait_times *times)
{
	struct kiln_stack_key unbanded = *key;

	unbanded.band = KILN_BAND_UNKNOWN;
	return add_sum(key, times) || (key->band && add_sum(&unbanded, times)) || lost_without_room(times->waits + times->earlier_waits);
}

/* Send the frames of a stack that is new: that has no row without a label. False: lost, and counted as that. `context`: of the switch; NULL: the
 * kernel's frames are in place. */
static __always_inline bool know_stack(struct kiln_stack *stack, const struct unwinding *u, void *context)
{
	static const struct kiln_wait_times none;

	if (bpf_map_lookup_elem(&wait_times, &stack->key))
		return true;
	if (context && stack->kernel_depth <= KILN_KERNEL_DEPTH) /* they may have been known */
		bpf_get_stack(context, stack->frames, stack->kernel_depth * sizeof stack->frames[0], 0);
	return send_frames(stack, u) && (add_wait_times(&stack->key, &none) || lost_without_room(1));
}

/* Where the stack of a wait belongs: its process and what the thread does. NULL: not to this session. */
static __always_inline struct kiln_stack_stats *identify_wait(
	struct kiln_stack *stack, struct task_struct *task, __u32 state, unsigned int task_state)
{
	__u32 row;

	stack->key.kind = KILN_STACK_OFF_CPU;
	stack->key.label = wait_label(task, state, task_state);
	if (!find_process(stack, task))
		return NULL;
	row = stats_row(stack);
	return bpf_map_lookup_elem(&stack_stats, &row);
}

/* NULL: no room. */
static __always_inline struct kiln_waiting *wait_of(__u32 tid)
{
	static const struct kiln_waiting none;
	struct kiln_waiting *wait = bpf_map_lookup_elem(&waiting, &tid);

	if (wait)
		return wait;
	bpf_map_update_elem(&waiting, &tid, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&waiting, &tid);
}

static __always_inline void start_wait(
	struct kiln_waiting *wait, const struct kiln_stack *stack, const struct kiln_known_work *known, __u32 state, __u64 now)
{
	if (wait->began_ns)
		lose(KILN_LOST_WAITS_WITHOUT_END, 1);
	wait->key = stack->key;
	wait->work = *known;
	wait->woken_ns = state == KILN_WAIT_RUNNABLE ? now : 0;
	wait->state = state;
	wait->is_earlier = 0;
	wait->waker.hash = 0;
	wait->end = stack->end;
	wait->is_guessed = stack->guessed != 0;
	wait->began_ns = now;
}

/* The current thread leaves its CPU. */
static __always_inline void begin_wait(void *context, struct task_struct *task, __u32 tid, __u32 state, unsigned int task_state, __u64 now)
{
	__u32 where = IN_SCHEDULER;
	struct kiln_stack *stack = bpf_map_lookup_elem(&stack_scratch, &where);
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);
	struct work_scratch *work = bpf_map_lookup_elem(&work_scratch, &where);
	struct kiln_stack_stats *stats;
	struct kiln_waiting *wait;

	if (!stack || !u || !work)
		return;
	stats = identify_wait(stack, task, state, task_state);
	if (!stats)
		return;
	count_in(where, &stats->seen);
	find_work(&work->known, task, stack->key.process);
	if (is_left_out(&work->known)) {
		count_left_out(&work->known, stats);
		return;
	}
	if (is_of_call(work->known.label)) /* a command waits for something of its own */
		stack->key.label = 0;
	wait = wait_of(tid);
	if (!wait) {
		lose(KILN_LOST_WAITING_MAP_FULL, 1);
		return;
	}
	claim_scratch(where);
	take_kernel_stack_at_switch(context, stack, task, state == KILN_WAIT_RUNNABLE);
	take_thread_name(stack, task);
	unwind_user_stack(stack, u, task);
	take_python_frames(stack, u);
	if (know_stack(stack, u, context)) {
		count_recorded(where, stats, stack);
		start_wait(wait, stack, &work->known, state, now);
	}
	release_scratch(where);
}

/* A thread gets a CPU. One that was woken before its wait began (it was about to sleep when that happened) was runnable all the time. */
static __always_inline void end_wait(__u32 tid, __u64 now)
{
	__u32 where = IN_SCHEDULER;
	struct kiln_waiting *wait = bpf_map_lookup_elem(&waiting, &tid);
	struct work_scratch *work = bpf_map_lookup_elem(&work_scratch, &where);
	struct kiln_wait_times *times;
	__u64 length, woken;

	if (!wait || !wait->began_ns || !work)
		return;
	length = now - wait->began_ns;
	/* One that wakes a thread may be late: it sees the wait before, and writes into this one. */
	woken = wait->woken_ns > wait->began_ns ? wait->woken_ns : wait->began_ns;
	if (length >= options.min_wait_ns && length <= options.max_wait_ns) {
		times = &work->times;
		__builtin_memset(times, 0, sizeof *times);
		if (wait->state < KILN_WAIT_STATE_COUNT && options.wait_states >> wait->state & 1) {
			times->ns[wait->state] = woken - wait->began_ns;
			if (wait->waker.hash)
				add_wake(wait, woken - wait->began_ns);
		}
		if (options.wait_states >> KILN_WAIT_RUNNABLE & 1)
			times->ns[KILN_WAIT_RUNNABLE] += now - woken;
		if (wait->is_earlier) {
			times->earlier_waits = 1;
			times->earlier_ns = length;
		} else {
			times->waits = 1;
			times->longest_ns = length;
		}
		add_amount(&wait->key, &wait->work, times);
	}
	wait->began_ns = 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(off_cpu_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 tid = prev->pid;

	end_wait(next->pid, now);
	if (!tid)
		return 0;
	if (!preempt && prev_state & TASK_GONE)
		bpf_map_delete_elem(&waiting, &tid);
	else
		begin_wait(ctx, prev, tid, wait_state(preempt, prev_state), prev_state, now);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(off_cpu_waking, struct task_struct *task)
{
	__u32 tid = task->pid;
	struct kiln_waiting *wait = bpf_map_lookup_elem(&waiting, &tid);

	if (!wait || !wait->began_ns || wait->woken_ns)
		return 0;
	if (options.wakers)
		take_waker(ctx, wait);
	wait->woken_ns = bpf_ktime_get_ns(); /* what the waker's stack has cost is no time in the run queue */
	return 0;
}

#endif
