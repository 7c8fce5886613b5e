/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* On-CPU stacks: a timer on every CPU samples the targets, their descendants, or everything; samples of equal stacks are
 * counted here.
 *
 * A stack's frames go to user space once, through a ring; afterwards only its count in a hash grows, so nothing has to
 * be emptied while it is written. The key is a 64-bit hash of all frames: bpf_get_stackid's would collide.
 *
 * The kernel's frames are its own unwinder's; the user's come from unwind tables (unwind.bpf.h). */
#include "common/bpf.h"
#include "include/kiln_stacks.h"
#include "stacks/losses.bpf.h"
#include "stacks/processes.bpf.h"
#include "stacks/unwind.bpf.h"

#define WAKEUP_INTERVAL_NS 20000000ULL

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Key: struct kiln_stack_key; value: samples. Preallocated: a timer interrupt must not allocate. Full: stacks_map_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_STACKS_CAPACITY);
	__type(key, struct kiln_stack_key);
	__type(value, __u64);
} stack_counts SEC(".maps");

/* struct kiln_stack records, cut behind their last frame. Full: the sample is lost as stacks_ring_full and the stack
 * is sent when it comes again. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_STACKS_RING_BYTES);
} new_stacks SEC(".maps");

/* Key: listed process, or KILN_MAX_TARGETS + family for what is not listed; one value for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * KILN_MAX_TARGETS);
	__type(key, __u32);
	__type(value, struct kiln_sample_stats);
} sample_stats SEC(".maps");

/* When this CPU last woke user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} woken_at_ns SEC(".maps");

/* Scratch. This program runs in the timer's interrupt and no other uses the map. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kiln_stack);
} stack_scratch SEC(".maps");

/* The kernel's frames, and the hash over them. */
static __always_inline void take_kernel_stack(struct bpf_perf_event_data *context, struct kiln_stack *stack)
{
	long bytes = bpf_get_stack(context, stack->frames, KILN_KERNEL_DEPTH * sizeof stack->frames[0], 0);
	__u32 depth = bytes > 0 ? bytes / sizeof stack->frames[0] : 0, i;
	__u64 hash = mix(0, depth);

	for (i = 0; i < KILN_KERNEL_DEPTH; i++) {
		if (i >= depth)
			break;
		hash = mix(hash, stack->frames[i]);
	}
	stack->kernel_depth = depth;
	stack->key.hash = hash;
}

/* Also into the hash. The kernel fills what a name leaves with zeros. */
static __always_inline void take_thread_name(struct kiln_stack *stack)
{
	if (!options.by_thread)
		return;
	bpf_get_current_comm(stack->thread, sizeof stack->thread);
	stack->key.hash = mix(mix(stack->key.hash, stack->thread[0]), stack->thread[1]);
}

/* User space looks at the ring now and then; waking it for each stack would cost microseconds of interrupt each. Only a
 * stack that met unknown code is urgent: the process may just have mapped a library, and can't be unwound in it before
 * user space has looked. Not more often than it can act on it, as a broken stack may end there too. */
static __always_inline __u64 wakeup_for(const struct kiln_stack *stack)
{
	__u64 now, *woken;
	__u32 zero = 0;

	if (stack->end != KILN_END_NO_MAPPING && stack->end != KILN_END_NO_PROCESS)
		return BPF_RB_NO_WAKEUP;
	now = bpf_ktime_get_ns();
	woken = bpf_map_lookup_elem(&woken_at_ns, &zero);
	if (!woken || now - *woken < WAKEUP_INTERVAL_NS)
		return BPF_RB_NO_WAKEUP;
	*woken = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* Puts the pieces of code found behind the frames; how many words. */
static __always_inline __u32 take_found_code(struct kiln_stack *stack, __u32 depth)
{
	__u32 zero = 0, i, at = depth;
	const struct unwinding *u = bpf_map_lookup_elem(&unwindings, &zero);

	for (i = 0; u && i < KILN_FOUND_CODE; i++) {
		if (i >= stack->found_count)
			break;
		stack->frames[at++ & (KILN_STACK_FRAMES - 1)] = u->found[i].start;
		stack->frames[at++ & (KILN_STACK_FRAMES - 1)] = u->found[i].end;
		stack->frames[at++ & (KILN_STACK_FRAMES - 1)] = u->found[i].number;
	}
	return at - depth;
}

/* Count the stack, and send its frames where it is new. False: lost, and counted as that. */
static __always_inline bool count_stack(struct kiln_stack *stack)
{
	__u64 one = 1, *count = bpf_map_lookup_elem(&stack_counts, &stack->key);
	__u32 depth = stack->kernel_depth + stack->user_depth, words;

	if (!count) {
		describe_process(stack);
		words = (depth + take_found_code(stack, depth)) & (KILN_STACK_FRAMES - 1);
		barrier_var(words);
		if (bpf_ringbuf_output(&new_stacks, stack, __builtin_offsetof(struct kiln_stack, frames) +
				       words * sizeof stack->frames[0], wakeup_for(stack))) {
			lose(KILN_LOST_STACKS_RING_FULL, 1);
			return false;
		}
		if (!bpf_map_update_elem(&stack_counts, &stack->key, &one, BPF_NOEXIST))
			return true;
		count = bpf_map_lookup_elem(&stack_counts, &stack->key);    /* another CPU was first */
		if (!count) {
			lose(KILN_LOST_STACKS_MAP_FULL, 1);
			return false;
		}
	}
	__sync_fetch_and_add(count, 1);
	return true;
}

SEC("perf_event")
int sample(struct bpf_perf_event_data *context)
{
	struct kiln_stack *stack;
	struct kiln_sample_stats *stats;
	__u32 zero = 0, row;

	stack = bpf_map_lookup_elem(&stack_scratch, &zero);
	if (!stack || !find_process(stack))
		return 0;
	row = stack->key.process < KILN_MAX_TARGETS ? stack->key.process : KILN_MAX_TARGETS + stack->family;
	stats = bpf_map_lookup_elem(&sample_stats, &row);
	if (!stats)
		return 0;
	stats->seen++;
	take_kernel_stack(context, stack);
	take_thread_name(stack);
	unwind_user_stack(stack);
	if (!count_stack(stack))
		return 0;
	stats->recorded++;
	if (stack->kernel_depth >= KILN_KERNEL_DEPTH)
		stats->kernel_truncated++;
	if (stack->end < KILN_END_COUNT)
		stats->ends[stack->end]++;
	return 0;
}
