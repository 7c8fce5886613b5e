/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* For tests and benchmarks: the session's unwinder (unwind.bpf.h), with what it needs to be checked against another one, or
 * with a clock around it. Either program runs alone: they share the scratch. */
#include "common/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "common/targets.bpf.h"
#include "stacks/unwind.bpf.h"
#include "include/stack_check.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* struct stack_copy records. Full: the sample is left out. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, STACK_COPY_RING_BYTES);
} copies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack_times);
} times SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kiln_stack);
} scratch SEC(".maps");

/* The scratch, if the current process is the target. */
static __always_inline struct kiln_stack *stack_of_target(void)
{
	int process = target_index(bpf_get_current_pid_tgid() >> 32);
	__u32 zero = 0;
	struct kiln_stack *stack = bpf_map_lookup_elem(&scratch, &zero);

	if (process < 0 || !stack)
		return NULL;
	stack->key.process = process;
	stack->key.hash = 0;
	stack->kernel_depth = 0;
	return stack;
}

static __always_inline void copy_registers(struct stack_copy *copy, const struct pt_regs *regs)
{
	__u32 i;

	for (i = 0; i < STACK_COPY_REGISTERS - 1; i++)
		copy->registers[i] = sampled_register(regs, i);
	copy->registers[16] = regs->ip;
}

SEC("perf_event")
int copy_sample(struct bpf_perf_event_data *context)
{
	struct kiln_stack *stack = stack_of_target();
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	struct stack_copy *copy;
	__u32 i, where = IN_TIMER;
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);

	if (!stack || !u || !regs->ip)
		return 0;
	copy = bpf_ringbuf_reserve(&copies, sizeof *copy, 0);
	if (!copy)
		return 0;
	unwind_user_stack(stack, u, bpf_get_current_task_btf());
	copy_registers(copy, regs);
	copy->start = copy->registers[7] & -(__u64)STACK_COPY_PAGE;
	copy->depth = stack->user_depth;
	copy->end = stack->end;
	copy->reserved = 0;
	bpf_probe_read_kernel(copy->frames, sizeof copy->frames, stack->frames);
	for (i = 0; i < STACK_COPY_PAGES; i++) {
		if (bpf_probe_read_user(copy->stack + i * STACK_COPY_PAGE, STACK_COPY_PAGE, (void *)(copy->start + i * STACK_COPY_PAGE)))
			break;
	}
	copy->pages = i;
	bpf_ringbuf_submit(copy, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("perf_event")
int time_sample(struct bpf_perf_event_data *context)
{
	struct kiln_stack *stack = stack_of_target();
	__u64 start, kernel, user, again, clock;
	__u32 zero = 0, where = IN_TIMER;
	struct stack_times *sums = bpf_map_lookup_elem(&times, &zero);
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);
	long bytes;

	if (!stack || !u || !sums)
		return 0;
	start = bpf_ktime_get_ns();
	bytes = bpf_get_stack(context, stack->frames, KILN_KERNEL_DEPTH * sizeof stack->frames[0], 0);
	kernel = bpf_ktime_get_ns();
	stack->kernel_depth = bytes > 0 ? bytes / sizeof stack->frames[0] : 0;
	unwind_user_stack(stack, u, bpf_get_current_task_btf());
	user = bpf_ktime_get_ns();
	unwind_user_stack(stack, u, bpf_get_current_task_btf());
	again = bpf_ktime_get_ns();
	clock = bpf_ktime_get_ns();
	sums->samples++;
	sums->user_frames += stack->user_depth;
	sums->kernel_frames += stack->kernel_depth;
	sums->kernel_ns += kernel - start;
	sums->user_ns += user - kernel;
	sums->again_ns += again - user;
	sums->clock_ns += clock - again;
	return 0;
}
