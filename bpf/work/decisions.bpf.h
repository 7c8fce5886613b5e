/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Receives and sends say what their thread works on, and decide what the stacks that it holds were taken for. */
#ifndef KILN_DECISIONS_BPF_H
#define KILN_DECISIONS_BPF_H

#include "common/bpf.h"
#include "requests/control.bpf.h"
#include "requests/turns.bpf.h"
#include "requests/variant.h"
#include "work/calls.bpf.h"
#include "work/work.bpf.h"

/* A receive or a send, and whose it is. */
struct work_event {
	__u64 connection, received_ns;
	__u32 process;
	__u32 label; /* of the call itself, and of what came before it and was not known */
	__u16 call;
	__u16 verdict; /* on the call that a send has answered, plus 1; 0: it is not answered yet */
	__u32 reserved;
	__u64 service_ns; /* of that call; 0: it is not known */
};

struct decision {
	const struct work_event *event;
	struct kiln_work *thread;
	struct kiln_held_stacks *held;
	__u64 turn_ns;
	__s32 descriptor;
	__u32 band; /* of the latency of the call that the event has answered */
};

/* Gives a held stack the verdict on its call, and the band of the call's latency. */
static __always_inline void decide_fate(struct kiln_held_stack *stack, struct kiln_work *w, __u32 verdict, __u32 band)
{
	/* In this order: an interrupt may settle the stack in between, and hold another one in its place. */
	if (!move_on(stack, w, KILN_HELD_DECIDED, KILN_HELD_TAKEN))
		return;
	if (verdict != KILN_VERDICT_LEFT_OUT)
		stack->work.label |= verdict << KILN_LABEL_VERDICT_SHIFT;
	stack->key.band = band;
	__sync_lock_test_and_set(&stack->state, verdict == KILN_VERDICT_LEFT_OUT ? KILN_HELD_DROPPED : KILN_HELD_KEPT);
}

static long decide_stack(__u32 index, struct decision *by)
{
	const struct work_event *event = by->event;
	struct kiln_held_stack *stack;
	struct kiln_known_work *known;
	bool own;

	barrier_var(index);
	stack = &by->held->stacks[index & (KILN_HELD_STACKS - 1)];
	known = &stack->work;
	if (stack->state != KILN_HELD_UNDECIDED)
		return 0;
	own = known->call == event->call && (known->descriptor == by->descriptor || known->descriptor < 0 || by->descriptor < 0);
	if (known->turn_ns == by->turn_ns && (own || !known->label)) {
		known->label = event->label;
		known->connection = event->connection;
		known->received_ns = event->received_ns;
	} else if (!known->label) {
		known->label = KILN_LABEL(KILN_ACTIVITY_LOOP, 0);
	}
	__sync_val_compare_and_swap(&stack->state, KILN_HELD_UNDECIDED, KILN_HELD_DECIDED);
	if (!is_of_call(known->label))
		move_on(stack, by->thread, KILN_HELD_DECIDED, fate_without_call());
	else if (event->verdict && known->connection == event->connection && known->received_ns <= event->received_ns)
		decide_fate(stack, by->thread, event->verdict - 1, by->band);
	else
		__sync_fetch_and_or(&by->thread->held_for, kiln_held_bit(known->connection));
	return 0;
}

/* Few calls have stacks to decide: those in which, or before which, one was taken. */
__noinline int decide_stacks(struct kiln_work *w, __u32 slot, const struct work_event *event)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	struct decision by = { .event = event, .thread = w, .descriptor = -1 };
	const struct kiln_turn *turn = NULL;
	__u32 process;

	if (!w || !event)
		return 0;
	process = event->process;
	if (slot < KILN_MAX_TARGETS)
		turn = bpf_map_lookup_elem(&turns, &process);
	by.turn_ns = turn ? turn->began_ns : 0;
	by.band = event->service_ns ? kiln_band_of(event->service_ns) : KILN_BAND_UNKNOWN;
	if (call_of(regs) == event->call)
		by.descriptor = descriptor_of(regs, event->call);
	by.held = bpf_map_lookup_elem(&held_stacks, &slot);
	w->undecided = 0; /* what comes now comes after the event */
	if (by.held)
		bpf_loop(w->held_end, decide_stack, &by, 0);
	return 0;
}

/* A slot for a thread that is not the main one. */
__noinline __u32 take_slot(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, slot = control.work_slots_taken + KILN_MAX_TARGETS;

	if (slot < KILN_WORK_SLOTS)
		slot = __sync_fetch_and_add(&control.work_slots_taken, 1) + KILN_MAX_TARGETS;
	if (slot > KILN_WORK_SLOTS)
		slot = KILN_WORK_SLOTS;
	bpf_map_update_elem(&work_slots, &tid, &slot, BPF_ANY);
	return slot;
}

/* The work of the current thread. NULL: it is not followed. */
static __always_inline struct kiln_work *own_work(const struct task_struct *task, __u32 process, __u32 *slot)
{
	struct kiln_work *w;
	bool known;

	if (CLIENT_SIDE || !work_options.followed)
		return NULL;
	*slot = slot_of(task, process, &known);
	if (!known)
		*slot = take_slot();
	w = bpf_map_lookup_elem(&work, slot);
	if (w && task->pid != task->tgid && w->started != task->start_boottime) {
		w->started = task->start_boottime;
		w->event_ns = w->label = w->undecided = 0;
	}
	return w;
}

/* A function of user space begins, in which the current thread receives or sends, or ends: KILN_CALL_NONE. What it does inside is for that. */
static __always_inline void work_is_inside(const struct task_struct *task, __u32 process, __u16 call)
{
	__u32 slot = 0;
	struct kiln_work *w = own_work(task, process, &slot);

	if (w)
		w->inside = call;
}

/* A main thread has received or sent. Inside of an execution that serves others meanwhile, what it executed before goes on. */
static __always_inline void note_outer(struct kiln_work *w, __u32 process)
{
	const struct kiln_turn *turn = bpf_map_lookup_elem(&turns, &process);

	if (!in_inner_loop(turn)) {
		w->outer_label = 0;
	} else if (!w->outer_label) {
		w->outer_label = w->label;
		w->outer_connection = w->connection;
		w->outer_received_ns = w->received_ns;
	}
}

/* The current thread has received or sent. `then`: the label of what it does from now on; 0: the next event decides. The label changes before
 * `undecided` is read: a stack that an interrupt takes in between is decided by this event, too. */
static __always_inline void work_goes_on(struct kiln_work *w, __u32 slot, const struct work_event *event, __u16 then, __u64 now)
{
	if (slot < KILN_MAX_TARGETS)
		note_outer(w, event->process);
	w->connection = event->connection;
	w->received_ns = event->received_ns;
	w->label = then;
	*(volatile __u64 *)&w->event_ns = now;
	if (*(volatile __u32 *)&w->undecided)
		decide_stacks(w, slot, event);
}

/* The work of a process's main thread while another thread receives. */
static __always_inline void others_receive(__u32 process, __u64 now)
{
	struct kiln_work *w = work_options.followed ? bpf_map_lookup_elem(&work, &process) : NULL;

	if (w)
		w->others_ns = now;
}

#endif
