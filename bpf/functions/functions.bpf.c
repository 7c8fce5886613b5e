/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Calls of user functions: counted, and timed. Calls of kernel functions: counted.
 *
 * A function is timed from its first instruction to one of its return instructions. Return probes cost less, but they replace the return
 * address on the stack: Go ends the program when it finds that, and so does an exception of C++ that passes it. */
#include "common/bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#include "functions/losses.bpf.h"
#include "common/members.bpf.h"
#include "functions/calls.bpf.h"
#include "include/kiln_functions.h"

/* Key: row. Written here, by programs that can be preempted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kiln_function_calls);
} function_calls SEC(".maps");

/* Whether a call is one of the session's. A trial asks, too, so that it takes as long as a member's call. */
static __always_inline bool is_of_member(__u64 cookie)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct membership member;

	return (find_membership(&member, task) && (__u32)task->tgid != options.own_tgid) || cookie & KILN_PROBE_OF_TRIAL;
}

/* Of a call of a user function: where the kernel calls the programs for one process only, it needs no asking. */
static __always_inline bool is_of_session(__u64 cookie)
{
	return options.one_process || is_of_member(cookie);
}

static __always_inline void count_call(__u64 cookie)
{
	__u32 row = cookie & KILN_PROBE_ROW_MASK;
	struct kiln_function_calls *calls = bpf_map_lookup_elem(&function_calls, &row);

	if (calls)
		__sync_fetch_and_add(&calls->of_set[!!(cookie & KILN_PROBE_OF_SECOND_SET)], 1);
}

/* The stack on which a function begins or returns, and its stack pointer there. NULL: not known, or no room, counted. */
static __always_inline struct call_stack *find_stack(struct pt_regs *context, __u64 cookie, __u64 *sp, bool is_beginning)
{
	return cookie & KILN_PROBE_OF_GO ? stack_of_goroutine(context->r14, sp, is_beginning) : stack_of_thread(*sp, is_beginning);
}

#define MAX_PROBED_RETURNS 64 /* the kernel's MAX_URETPROBE_DEPTH */

/* With return probes: the kernel omits the return of this call. */
static __always_inline bool is_return_omitted(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!options.return_probes || !bpf_core_field_exists(task->utask))
		return false;
	return task->utask && task->utask->depth >= MAX_PROBED_RETURNS;
}

SEC("uprobe")
int function_counted(struct pt_regs *context)
{
	__u64 cookie = bpf_get_attach_cookie(context);

	if (is_of_session(cookie))
		count_call(cookie);
	return 0;
}

SEC("uprobe")
int function_entered(struct pt_regs *context)
{
	__u64 cookie = bpf_get_attach_cookie(context), sp = context->sp, returns_to = 0;
	struct call_stack *stack;

	if (!is_of_session(cookie))
		return 0;
	count_call(cookie);
	if ((cookie & KILN_PROBE_OF_SECOND_SET) != variables.timing_set)
		return 0;
	if (is_return_omitted()) {
		lose(KILN_LOST_CALLS_NESTED_TOO_DEEP, 1);
		return 0;
	}
	if (bpf_probe_read_user(&returns_to, sizeof returns_to, (const void *)sp)) {
		lose(KILN_LOST_UNKNOWN_STACKS, 1);
		return 0;
	}
	stack = find_stack(context, cookie, &sp, true);
	if (!stack)
		return 0;
	begin_call(stack, sp, returns_to, cookie);
	if (cookie & KILN_PROBE_OF_GO) /* there was no room for the call */
		leave_goroutine(stack, context->r14);
	return 0;
}

/* At a return instruction. */
SEC("uprobe")
int function_left(struct pt_regs *context)
{
	__u64 now = bpf_ktime_get_ns(), cookie = bpf_get_attach_cookie(context), sp = context->sp;
	struct call_stack *stack;

	if (!is_of_session(cookie) || (cookie & KILN_PROBE_OF_SECOND_SET) != variables.timing_set)
		return 0;
	stack = find_stack(context, cookie, &sp, false);
	if (!stack)
		return 0;
	end_calls(stack, sp, now, cookie & KILN_PROBE_ROW_MASK);
	if (cookie & KILN_PROBE_OF_GO)
		leave_goroutine(stack, context->r14);
	return 0;
}

/* At a return probe: the return address has been taken off the stack. */
SEC("uprobe")
int function_returned(struct pt_regs *context)
{
	__u64 now = bpf_ktime_get_ns(), cookie = bpf_get_attach_cookie(context), sp = context->sp - 8;
	struct call_stack *stack;

	if (!is_of_session(cookie) || (cookie & KILN_PROBE_OF_SECOND_SET) != variables.timing_set)
		return 0;
	stack = find_stack(context, cookie, &sp, false);
	if (stack)
		end_calls(stack, sp, now, cookie & KILN_PROBE_ROW_MASK);
	return 0;
}

/* At functions of the kernel. What an interrupt calls belongs to the thread that it interrupts. */
SEC("kprobe.multi")
int kernel_function_counted(struct pt_regs *context)
{
	__u64 cookie = bpf_get_attach_cookie(context);

	if (is_of_member(cookie))
		count_call(cookie);
	return 0;
}

/* Does nothing: what a trap costs by itself. */
SEC("uprobe")
int function_trapped(struct pt_regs *context)
{
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(thread_ended, struct task_struct *task)
{
	end_stacks(!BPF_CORE_READ(task, signal, live.counter));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(program_replaced, struct task_struct *task)
{
	end_stacks(true);
	return 0;
}
