/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Stacks at events: tracepoints, functions of programs, the kernel's own counters. Each event is counted; a stack is taken at each one, or at
 * each one of N.
 *
 * An event belongs to the thread that runs when it happens, which at a tracepoint in an interrupt is the thread that was interrupted.
 * What kiln does itself, and what the programs that take stacks cause, is no event. */
#ifndef KILN_EVENTS_BPF_H
#define KILN_EVENTS_BPF_H

#include "stacks/record_stack.bpf.h"
#include "syscalls/in_flight.bpf.h"

const volatile struct kiln_event_options event_options SEC(".rodata.events");

/* Key: the event's index; value: how often it happened, one for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_MAX_EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} event_counts SEC(".maps");

/* The same over all CPUs, of events of which not every one has a stack. */
__u64 events_so_far[KILN_MAX_EVENTS];

/* An event's place in arrays. Linux 6.1 forgets the bound of a number that was on the stack. */
static __always_inline __u64 place_of(__u32 event)
{
	__u64 place = event;

	barrier_var(place);
	return place & (KILN_MAX_EVENTS - 1);
}

/* Counts the event. 0: no stack is due; otherwise for how many events it stands. `amount`: what a counter of the hardware has counted. */
static __always_inline __u64 count_event(__u32 event, __u64 amount)
{
	__u64 *count = bpf_map_lookup_elem(&event_counts, &event), every = event_options.every[place_of(event)];

	if (!count)
		return 0;
	__sync_fetch_and_add(count, amount); /* an interrupt may come in between */
	if (amount != 1 || every <= 1)
		return amount;
	return (__sync_fetch_and_add(&events_so_far[place_of(event)], 1) + 1) % every ? 0 : every;
}

/* `frame`: stands for the kernel's side of the stack; 0: nothing. */
static __always_inline void take_event(void *context, __u32 event, __u64 amount, __u64 frame)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct membership member;
	struct kiln_stack *stack;
	struct unwinding *u;
	__u64 weight;
	__u32 where;

	if (event >= KILN_MAX_EVENTS || bpf_get_current_pid_tgid() >> 32 == event_options.own_tgid)
		return;
	if (!find_membership(&member, task))
		return;
	/* Nothing tells an event of the program that takes a stack from one of an interrupt that came in between. */
	if (event_options.caused_by_kiln >> event & 1 && is_being_taken()) {
		lose(KILN_LOST_OWN_EVENTS, 1);
		return;
	}
	weight = count_event(event, amount);
	if (!weight)
		return;
	where = claim_event_scratch();
	stack = bpf_map_lookup_elem(&stack_scratch, &where);
	u = bpf_map_lookup_elem(&unwindings, &where);
	if (!stack || !u) /* none is free */
		return;
	stack->key.kind = KILN_STACK_EVENT + event;
	if (identify_process(stack, task, &member))
		add_stack(context, IN_EVENT, where, stack, u, task, weight, frame);
	release_scratch(where);
}

/* Whether a tracepoint of all system calls stands at the one that is asked for. */
static __always_inline bool is_wanted_call(__u32 event)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	__s32 wanted = event_options.syscall[place_of(event)];

	return wanted < 0 || (!(task->thread_info.status & TS_COMPAT) && regs->orig_ax == (unsigned long)wanted);
}

/* For what a return of a system call stands: for itself, or for the time that the call took. 0: the programs that count calls have not counted it. */
static __always_inline __u64 amount_of_call(__u32 event)
{
	struct call_in_flight *flight;

	if (!(event_options.counted_calls >> event & 1))
		return 1;
	flight = flight_of(bpf_get_current_task_btf());
	if (!flight || !flight->is_counted)
		return 0;
	flight->is_counted = 0;
	return event_options.by_time ? flight->took_ns : 1;
}

/* Of a call that was counted the kernel's frames are only those of its tracepoint. */
static __always_inline __u64 frame_of_call(__u32 event)
{
	struct call_in_flight *flight;

	if (!(event_options.counted_calls >> event & 1))
		return 0;
	flight = flight_of(bpf_get_current_task_btf());
	return flight ? KILN_CALL_FRAME | flight->call : 0;
}

/* A program is attached to one tracepoint: older kernels don't tell a program which one it stands at. */
__noinline int take_tracepoint_event(struct bpf_raw_tracepoint_args *context, __u32 event)
{
	__u64 amount;

	if (event >= KILN_MAX_EVENTS || !is_wanted_call(event))
		return 0;
	amount = amount_of_call(event);
	if (amount)
		take_event(context, event, amount, frame_of_call(event));
	return 0;
}

#define AT_TRACEPOINT(event) \
	SEC("raw_tp") int event_tracepoint_##event(struct bpf_raw_tracepoint_args *context) \
	{ \
		return take_tracepoint_event(context, event); \
	}

AT_TRACEPOINT(0)
AT_TRACEPOINT(1)
AT_TRACEPOINT(2)
AT_TRACEPOINT(3)
AT_TRACEPOINT(4)
AT_TRACEPOINT(5)
AT_TRACEPOINT(6)
AT_TRACEPOINT(7)
AT_TRACEPOINT(8)
AT_TRACEPOINT(9)
AT_TRACEPOINT(10)
AT_TRACEPOINT(11)
AT_TRACEPOINT(12)
AT_TRACEPOINT(13)
AT_TRACEPOINT(14)
AT_TRACEPOINT(15)

/* At functions' beginnings and returns, and at static probes (USDT). The cookie is the event's index. */
SEC("uprobe")
int event_function(struct pt_regs *context)
{
	take_event(context, bpf_get_attach_cookie(context), 1, 0);
	return 0;
}

/* The same, attached to many functions at once. */
SEC("uprobe")
int event_functions(struct pt_regs *context)
{
	take_event(context, bpf_get_attach_cookie(context), 1, 0);
	return 0;
}

/* At counters of the kernel (page-faults), which tell of each event. The cookie is the event's index. */
SEC("perf_event")
int event_counter(struct bpf_perf_event_data *context)
{
	take_event(context, bpf_get_attach_cookie(context), 1, 0);
	return 0;
}

/* struct bpf_perf_event_data of x86-64, as programs see it. */
struct counted {
	__u64 registers[21];
	__u64 period;
};

/* At counters of the hardware, which interrupt once in a period. */
SEC("perf_event")
int event_hardware(struct bpf_perf_event_data *context)
{
	take_event(context, bpf_get_attach_cookie(context), ((struct counted *)context)->period, 0);
	return 0;
}

#endif
