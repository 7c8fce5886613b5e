/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls, one by one: a record where each returns, or where its thread ends in it.
 *
 * Which calls are asked for is decided at their entry; whether they failed and how long they took, at their return: what is left out is never
 * copied. Limits: a call that has not returned when the session ends has no record. */
#include "common/bpf.h"
#include "include/kiln_call_trace.h"
#define LOSS_COUNT KILN_CALL_LOSS_COUNT
#define LOST_DESCENDANT KILN_LOST_CALL_TRACE_DESCENDANTS_MAP_FULL
#include "common/losses.bpf.h"
#include "common/members.bpf.h"
#include "syscalls/earlier_calls.bpf.h"
#include "syscalls/in_flight.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct kiln_call_options options SEC(".rodata.options");

struct kiln_call_session session;

/* struct kiln_call_record. User space is never woken but looks 50 times a second; full: calls_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_CALL_RING_BYTES);
} call_ring SEC(".maps");

struct call_arguments {
	__u64 at[KILN_CALL_ARGUMENTS];
};

/* Of an exec in flight, which leaves none in the registers if it succeeds. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_arguments);
} exec_arguments SEC(".maps");

/* From the saved registers, where a call leaves them. */
static __always_inline void read_arguments(__u64 *arguments, const struct pt_regs *regs, __u32 call)
{
	if (KILN_CALL_ABI(call) == KILN_ABI_32_BIT) {
		arguments[0] = (__u32)regs->bx;
		arguments[1] = (__u32)regs->cx;
		arguments[2] = (__u32)regs->dx;
		arguments[3] = (__u32)regs->si;
		arguments[4] = (__u32)regs->di;
		arguments[5] = (__u32)regs->bp;
		return;
	}
	arguments[0] = regs->di;
	arguments[1] = regs->si;
	arguments[2] = regs->dx;
	arguments[3] = regs->r10;
	arguments[4] = regs->r8;
	arguments[5] = regs->r9;
}

/* `entered`: 0: its entry was not seen. */
static __always_inline void send_call(
	struct task_struct *task, const struct pt_regs *regs, __u32 call, __u64 entered, long returned, __u32 flags)
{
	bool failed = flags & KILN_CALL_RETURNED && has_failed(returned);
	__u64 now = bpf_ktime_get_ns(), began = flags & KILN_CALL_EARLIER ? session.began_ns : entered;
	struct call_arguments *kept = NULL;
	struct kiln_call_record *r;

	if (!session.began_ns || (options.failed && !failed))
		return;
	if (options.slower_than_ns && (!began || now - began < options.slower_than_ns))
		return;
	r = bpf_ringbuf_reserve(&call_ring, sizeof *r, 0);
	if (!r) {
		lose(KILN_LOST_CALL_RING_FULL, 1);
		return;
	}
	r->entered_ns = entered;
	r->ended_ns = now;
	r->returned = returned;
	r->call = call;
	r->number = regs->orig_ax;
	r->reserved = 0;
	r->flags = flags;
	r->tgid = task->tgid;
	r->tid = task->pid;
	bpf_core_read(r->comm, sizeof r->comm, &task->comm);
	read_arguments(r->arguments, regs, call);
	if (is_exec(call)) {
		kept = bpf_task_storage_get(&exec_arguments, task, NULL, 0);
		if (kept && entered)
			__builtin_memcpy(r->arguments, kept->at, sizeof r->arguments);
		else if (!failed)
			r->flags |= KILN_CALL_ARGUMENTS_LOST;
	}
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enters, struct pt_regs *regs, long given)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 call = numbered_call(task, given);
	__u8 state = FLIGHT_ENTERED;
	struct call_arguments *kept;
	struct call_in_flight *flight;
	struct membership member;

	if (!is_chosen(&options.calls, call) || is_own(&options.calls, task) || !find_family(&member, task))
		return 0;
	if (has_not_begun(&member, task) || !passes_filter(task)) {
		if (!is_exec(call))
			return 0;
		state = FLIGHT_OUTSIDE; /* the exec may make it a member */
	}
	flight = follow_calls(task);
	if (!flight) {
		lose(KILN_LOST_CALL_NOT_FOLLOWED, 1);
		return 0;
	}
	begin_call(flight, call, state);
	if (is_exec(call)) {
		kept = bpf_task_storage_get(&exec_arguments, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (kept)
			read_arguments(kept->at, regs, call);
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_returns, struct pt_regs *regs, long returned)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_in_flight *flight = flight_of(task);
	__u8 state = flight ? flight->state : FLIGHT_NONE;
	struct membership member;
	__u32 call;

	if (flight)
		flight->state = FLIGHT_NONE;
	if (flight && (state == FLIGHT_ENTERED || state == FLIGHT_OUTSIDE)) {
		if (state == FLIGHT_ENTERED || find_membership(&member, task))
			send_call(task, regs, flight->call, flight->entered_ns, returned, KILN_CALL_RETURNED);
		return 0;
	}
	call = state == FLIGHT_EARLIER ? call_in(task, regs, returned) : numbered_call(task, regs->orig_ax);
	if (!is_chosen(&options.calls, call) || is_own(&options.calls, task) || (is_fork(call) && !returned) ||
		!find_membership(&member, task))
		return 0;
	send_call(task, regs, call, 0, returned, KILN_CALL_RETURNED | (state == FLIGHT_EARLIER ? KILN_CALL_EARLIER : 0));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(caller_exits)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_in_flight *flight = flight_of(task);

	if (!flight || flight->state != FLIGHT_ENTERED)
		return 0;
	flight->state = FLIGHT_NONE;
	send_call(task, (const struct pt_regs *)bpf_task_pt_regs(task), flight->call, flight->entered_ns, 0, 0);
	return 0;
}

/* Before calls are seen. */
SEC("iter/task")
int note_earlier_calls(struct bpf_iter__task *context)
{
	note_earlier_call(context->task, &options.calls, KILN_LOST_CALL_NOT_FOLLOWED);
	return 0;
}
