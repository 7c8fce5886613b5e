/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a thread works on when its stack is taken, and stacks that wait until that is known and their call is answered. They are settled, which means that
 * they join their sums, when the thread's next stack is to be held; user space adds those that need only that. */
#ifndef KILN_HELD_STACKS_BPF_H
#define KILN_HELD_STACKS_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "include/kiln_stacks.h"
#include "requests/turns.bpf.h"
#include "stacks/losses.bpf.h"
#include "stacks/unwinding.bpf.h"
#include "work/calls.bpf.h"
#include "work/work.bpf.h"

/* Scratch of a stack that is taken, by enum stack_context. */
struct work_scratch {
	struct kiln_known_work known;
	struct kiln_wait_times times;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_CONTEXTS);
	__type(key, __u32);
	__type(value, struct work_scratch);
} work_scratch SEC(".maps");

static __always_inline void know(struct kiln_known_work *known, __u16 activity, __u16 row)
{
	known->label = KILN_LABEL(activity, row);
}

/* Inside of an execution that serves others meanwhile: what is no receive and no send is the execution. */
static __always_inline void know_outer(struct kiln_known_work *known, const struct kiln_work *w)
{
	known->label = w->outer_label ? w->outer_label : w->label;
	if (w->outer_label) {
		known->connection = w->outer_connection;
		known->received_ns = w->outer_received_ns;
	}
	if (!known->label)
		know(known, KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_EDGE);
}

/* Of a thread that receives or sends. `stack`: its stack pointer in user mode, where it is in a system call. */
static __always_inline void find_work_of_thread(struct kiln_known_work *known, const struct kiln_work *w, __u64 stack, __u32 slot)
{
	const struct kiln_turn *turn = slot < KILN_MAX_TARGETS ? bpf_map_lookup_elem(&turns, &slot) : NULL;
	__u64 now = bpf_ktime_get_ns(), event_ns = w->event_ns;
	bool waits = known->call == KILN_CALL_WAIT, inner = waits ? turn && stack < turn->top : in_inner_loop(turn);

	known->turn_ns = turn ? turn->began_ns : 0;
	known->connection = w->connection;
	known->received_ns = w->received_ns;
	if (waits && !inner)
		know(known, KILN_ACTIVITY_LOOP, 0);
	else if (slot >= KILN_MAX_TARGETS || (w->others_ns && now - w->others_ns < OTHERS_QUIET_NS))
		know(known, KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_IO_THREADS);
	else if (inner)
		know_outer(known, w);
	else if (turn && turn->known && turn->began_ns > event_ns)
		known->label = 0;
	else if (turn && event_ns < turn->watched_from_ns)
		know(known, KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_NOT_WATCHED);
	else if (!event_ns)
		know(known, KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_EDGE);
	else
		known->label = w->label;
	if (w->inside) {
		known->call = w->inside;
		known->descriptor = -1;
	}
	known->slot = slot;
	known->is_decided = known->label && (waits || known->call == KILN_CALL_NONE);
	known->is_kept = known->is_decided && !inner && is_of_call(known->label) && w->kept_ns && now >= w->kept_ns;
	if (known->is_kept && work_options.has_threshold)
		known->label |= KILN_VERDICT_SLOW << KILN_LABEL_VERDICT_SHIFT;
}

/* What a task works on. `process`: its number. In user mode the saved registers are those of an interrupt: no call's. */
static __always_inline void find_work(struct kiln_known_work *known, struct task_struct *task, __u32 process)
{
	const struct pt_regs *regs;
	const struct kiln_work *w;
	bool receives_or_sends;
	__u32 slot;

	__builtin_memset(known, 0, sizeof *known);
	known->slot = KILN_WORK_SLOTS;
	known->is_decided = true;
	if (!work_options.followed)
		return;
	know(known, KILN_ACTIVITY_BACKGROUND, 0);
	if (process >= KILN_MAX_TARGETS)
		return;
	slot = slot_of(task, process, &receives_or_sends);
	if (!receives_or_sends)
		return;
	w = bpf_map_lookup_elem(&work, &slot);
	if (!w) {
		know(known, KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_NO_ROOM);
		return;
	}
	if (slot >= KILN_MAX_TARGETS && w->started != task->start_boottime)
		return;
	regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	known->call = call_of(regs);
	known->descriptor = descriptor_of(regs, known->call);
	find_work_of_thread(known, w, regs->sp, slot);
}

/* To be provided: add a stack to its sum by its key, or count it as one that is dropped. */
static bool add_settled(const struct kiln_stack_key *key, const struct kiln_wait_times *times);
static void drop_settled(const struct kiln_stack_key *key, __u64 stacks);

struct settling {
	struct kiln_held_stacks *held;
	struct kiln_work *thread;
	const struct kiln_stack_key *key; /* of a stack that is to be held */
	const struct kiln_known_work *work;
	const struct kiln_wait_times *times;
	__u64 turn_ns;
	__u64 now_ns;
	__u32 state; /* in which it is held */
	__u32 end;   /* after the last that is held */
	bool is_held;
	__u64 oldest;    /* of those that wait for a reply: its index plus 1; 0: there is none */
	__u64 oldest_ns; /* when its call was received */
};

static __always_inline void add_times(struct kiln_wait_times *sum, const struct kiln_wait_times *times)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_WAIT_STATE_COUNT; i++)
		sum->ns[i] += times->ns[i];
	sum->waits += times->waits;
	if (times->longest_ns > sum->longest_ns)
		sum->longest_ns = times->longest_ns;
	sum->earlier_waits += times->earlier_waits;
	sum->earlier_ns += times->earlier_ns;
}

/* Whether two stacks are decided alike. */
static __always_inline bool is_same(const struct kiln_held_stack *held, const struct settling *new)
{
	return held->key.hash == new->key->hash && held->key.kind == new->key->kind && held->key.label == new->key->label &&
		held->work.turn_ns == new->work->turn_ns && held->work.call == new->work->call &&
		held->work.descriptor == new->work->descriptor && held->work.label == new->work->label &&
		held->work.connection == new->work->connection && held->work.received_ns == new->work->received_ns;
}

static __always_inline bool take_held(struct kiln_held_stack *stack, __u32 state)
{
	return __sync_val_compare_and_swap(&stack->state, state, KILN_HELD_TAKEN) == state;
}

/* How many stacks a held one stands for. */
static __always_inline __u64 stacks_of(const struct kiln_held_stack *stack)
{
	return stack->times.waits + stack->times.earlier_waits;
}

/* Whether a stack has waited for its reply for so long that none is expected: where all stacks are kept its latency then stays unknown. Of a main thread,
 * which answers what it has read, that is the reach of the histogram. */
static __always_inline bool is_overdue(const struct kiln_held_stack *stack, const struct settling *new)
{
	__u64 limit = stack->work.slot < KILN_MAX_TARGETS ? KILN_HISTOGRAM_LIMIT_NS : OTHERS_QUIET_NS;

	return !work_options.judged && new->now_ns > stack->work.received_ns + limit;
}

/* A stack that waits for no decision joins its sum, or is dropped. */
static __always_inline void settle(struct kiln_held_stack *stack, struct settling *new)
{
	__u32 state = stack->state;

	if (state == KILN_HELD_UNDECIDED && stack->work.turn_ns != new->turn_ns) {
		if (!stack->work.label)
			know(&stack->work, KILN_ACTIVITY_LOOP, 0);
		__sync_val_compare_and_swap(&stack->state, KILN_HELD_UNDECIDED, KILN_HELD_DECIDED);
		state = KILN_HELD_DECIDED;
	}
	if (state == KILN_HELD_DECIDED && (!is_of_call(stack->work.label) || is_overdue(stack, new)))
		move_on(stack, new->thread, state, fate_without_call());
	if (take_held(stack, KILN_HELD_KEPT)) {
		stack->key.label |= kiln_kept_label(stack->work.label);
		add_settled(&stack->key, &stack->times);
		stack->state = KILN_HELD_FREE;
	} else if (take_held(stack, KILN_HELD_DROPPED)) {
		drop_settled(&stack->key, stacks_of(stack));
		stack->state = KILN_HELD_FREE;
	}
}

static long settle_stack(__u32 index, struct settling *new)
{
	struct kiln_held_stack *stack;
	__u32 state;

	if (index >= KILN_HELD_STACKS)
		return 1;
	barrier_var(index);
	stack = &new->held->stacks[index & (KILN_HELD_STACKS - 1)];
	state = stack->state;
	if (state != KILN_HELD_FREE)
		settle(stack, new);
	if (stack->state != KILN_HELD_FREE)
		new->end = index + 1;
	if (stack->state == KILN_HELD_DECIDED && (!new->oldest || stack->work.received_ns < new->oldest_ns)) {
		new->oldest = index + 1;
		new->oldest_ns = stack->work.received_ns;
	}
	if (new->is_held)
		return 0;
	if (state == new->state && is_same(stack, new) && take_held(stack, state)) {
		add_times(&stack->times, new->times);
		stack->state = state;
		new->is_held = true;
	} else if (take_held(stack, KILN_HELD_FREE)) {
		stack->key = *new->key;
		stack->work = *new->work;
		stack->times = *new->times;
		__sync_fetch_and_or(&new->thread->held_for, kiln_held_bit(new->work->connection));
		__sync_fetch_and_add(&new->thread->held, 1);
		if (new->thread->held_end <= index)
			new->thread->held_end = index + 1;
		__sync_lock_test_and_set(&stack->state, new->state); /* after the rest */
		new->end = index + 1;
		new->is_held = true;
	}
	return 0;
}

/* Some calls are never answered, or by a thread that can't be followed: their stacks must not fill the room for ever. Where every stack is kept, their
 * latency stays unknown. */
static __always_inline bool give_up_oldest(struct settling *new)
{
	struct kiln_held_stack *stack;
	__u64 at = new->oldest - 1;

	if (!new->oldest)
		return false;
	barrier_var(at);
	stack = &new->held->stacks[at & (KILN_HELD_STACKS - 1)];
	if (!move_on(stack, new->thread, KILN_HELD_DECIDED, fate_without_call()))
		return false;
	if (work_options.judged)
		lose(KILN_LOST_HELD_STACKS_FULL, stacks_of(stack));
	return true;
}

/* Whether a stack is not asked for, which is known at once. */
static __always_inline bool is_left_out(const struct kiln_known_work *known)
{
	return work_options.judged && known->is_decided && !is_of_call(known->label);
}

static __always_inline void count_left_out(const struct kiln_known_work *known, struct kiln_stack_stats *stats)
{
	__u32 activity = kiln_label_activity(known->label);
	enum kiln_left_out what = KILN_LEFT_OUT_CALLS;

	if (activity == KILN_ACTIVITY_LOOP)
		what = KILN_LEFT_OUT_LOOP;
	else if (activity == KILN_ACTIVITY_BACKGROUND)
		what = KILN_LEFT_OUT_BACKGROUND;
	else if (activity == KILN_ACTIVITY_UNKNOWN)
		what = KILN_LEFT_OUT_UNKNOWN;
	__sync_fetch_and_add(&stats->left_out[what], 1);
}

/* Holds a stack of the current thread, or of one that does not run. False: there is no room. */
static __always_inline bool hold_stack(
	const struct kiln_stack_key *key, const struct kiln_known_work *known, const struct kiln_wait_times *times)
{
	__u32 slot = known->slot, end;
	struct settling new = { .key = key, .work = known, .times = times, .turn_ns = known->turn_ns };

	new.now_ns = bpf_ktime_get_ns();
	new.state = known->is_decided ? KILN_HELD_DECIDED : KILN_HELD_UNDECIDED;
	new.thread = bpf_map_lookup_elem(&work, &slot);
	new.held = bpf_map_lookup_elem(&held_stacks, &slot);
	if (!new.thread || !new.held)
		return false;
	end = new.thread->held_end;
	bpf_loop(end + 1, settle_stack, &new, 0);
	if (!new.is_held && give_up_oldest(&new))
		bpf_loop(end, settle_stack, &new, 0);
	__sync_val_compare_and_swap(
		&new.thread->held_end, end, new.end); /* unless more are held, by this program or one that interrupts it */
	if (new.is_held && !known->is_decided)
		__sync_fetch_and_add(&new.thread->undecided, 1);
	return new.is_held;
}

/* Adds times, or a weight, to the sum of a stack: now, or once it is known what the thread works on. False: lost, and counted as that. */
static __always_inline bool add_amount(
	const struct kiln_stack_key *key, const struct kiln_known_work *known, const struct kiln_wait_times *times)
{
	struct kiln_stack_key labelled = *key;

	labelled.label |= kiln_kept_label(known->label);
	if (known->is_decided && (known->is_kept || !is_of_call(known->label)))
		return add_settled(&labelled, times);
	if (hold_stack(key, known, times))
		return true;
	if (work_options.judged) {
		lose(KILN_LOST_HELD_STACKS_FULL, 1);
		drop_settled(key, 1);
		return true;
	}
	if (!known->label)
		labelled.label |= KILN_LABEL(KILN_ACTIVITY_UNKNOWN, KILN_UNKNOWN_NO_ROOM);
	return add_settled(&labelled, times);
}

#endif
