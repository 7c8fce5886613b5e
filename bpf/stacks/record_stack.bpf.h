/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Takes the stack of the current thread and adds a weight to it: the one call in which each source of stacks ends.
 *
 * A stack's frames go to user space once, through a ring; afterwards only its sum in a hash grows, so nothing has to
 * be emptied while it is written. The key is a 64-bit hash of all frames: bpf_get_stackid's would collide.
 *
 * The kernel's frames are its own unwinder's; the user's come from unwind tables (unwind.bpf.h). */
#ifndef KILN_RECORD_STACK_BPF_H
#define KILN_RECORD_STACK_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"
#include "python/frames.bpf.h"
#include "stacks/losses.bpf.h"
#include "stacks/processes.bpf.h"
#include "stacks/scratch.bpf.h"
#include "stacks/unwind.bpf.h"
#include "work/held_stacks.bpf.h"

#define WAKEUP_INTERVAL_NS 20000000ULL
#define YOUNG_NS 2000000000ULL

/* Key: struct kiln_stack_key; value: the sum of weights. Preallocated: interrupts must not allocate. Full: stacks_map_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_STACKS_CAPACITY);
	__type(key, struct kiln_stack_key);
	__type(value, __u64);
} stack_weights SEC(".maps");

/* struct kiln_stack records, cut behind their last frame. Full: the weight is lost as stacks_ring_full and the stack
 * is sent when it comes again. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_STACKS_RING_BYTES);
} new_stacks SEC(".maps");

/* Key: stats_row(); one value for each CPU. User space leaves out the kinds that are not asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_STACK_KIND_COUNT * 2 * KILN_MAX_TARGETS);
	__type(key, __u32);
	__type(value, struct kiln_stack_stats);
} stack_stats SEC(".maps");

/* When this CPU last woke user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} woken_at_ns SEC(".maps");

/* Scratch by enum stack_context. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_CONTEXTS);
	__type(key, __u32);
	__type(value, struct kiln_stack);
} stack_scratch SEC(".maps");

#define KERNEL_STACK_BYTES (KILN_KERNEL_DEPTH * sizeof(__u64))

/* The kernel's frames, which fill so many bytes, and the hash over them. */
static __always_inline void take_kernel_stack(struct kiln_stack *stack, long bytes)
{
	__u32 depth = bytes > 0 ? bytes / sizeof stack->frames[0] : 0, i;
	__u64 hash = kiln_mix(0, depth);

	for (i = 0; i < KILN_KERNEL_DEPTH; i++) {
		if (i >= depth)
			break;
		hash = kiln_mix(hash, stack->frames[i]);
	}
	stack->kernel_depth = depth;
	stack->key.hash = hash;
}

/* Also into the hash. */
static __always_inline void take_thread_name(struct kiln_stack *stack, struct task_struct *task)
{
	if (!options.by_thread)
		return;
	stack->thread[0] = stack->thread[1] = 0;
	bpf_probe_read_kernel_str(stack->thread, sizeof stack->thread, task->comm);
	stack->key.hash = kiln_mix(kiln_mix(stack->key.hash, stack->thread[0]), stack->thread[1]);
}

/* Whether its process began less than two seconds ago. */
static __always_inline bool is_young(struct task_struct *task)
{
	return bpf_ktime_get_boot_ns() - BPF_CORE_READ(task, group_leader, start_boottime) < YOUNG_NS;
}

/* User space looks at the ring now and then; waking it for each stack would cost microseconds of interrupt each. Only a
 * stack that met unknown code is urgent: the process may just have mapped a library, and can't be unwound in it before
 * user space has looked. And so is a ring that fills: many processes start, each with stacks of its own; and a function of
 * Python in a process that has just begun, which may end before its name has been read. Not more often than user space
 * can act on it, as a broken stack may end in unknown code too. */
static __always_inline __u64 wakeup_for(const struct kiln_stack *stack, struct task_struct *task)
{
	__u64 now, *woken;
	__u32 zero = 0;

	if (stack->end != KILN_END_NO_MAPPING && stack->end != KILN_END_NO_PROCESS && !(stack->python_depth && is_young(task)) &&
		bpf_ringbuf_query(&new_stacks, BPF_RB_AVAIL_DATA) < KILN_STACKS_RING_BYTES / 2)
		return BPF_RB_NO_WAKEUP;
	now = bpf_ktime_get_ns();
	woken = bpf_map_lookup_elem(&woken_at_ns, &zero);
	if (!woken || now - *woken < WAKEUP_INTERVAL_NS)
		return BPF_RB_NO_WAKEUP;
	*woken = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* Puts the pieces of code found behind the frames; how many words. */
static __always_inline __u32 take_found_code(struct kiln_stack *stack, const struct unwinding *u, __u32 depth)
{
	__u32 i, at = depth;

	for (i = 0; i < KILN_FOUND_CODE; i++) {
		if (i >= stack->found_count)
			break;
		stack->frames[at++ & (KILN_STACK_FRAMES - 1)] = u->found[i].start;
		stack->frames[at++ & (KILN_STACK_FRAMES - 1)] = u->found[i].end;
		stack->frames[at++ & (KILN_STACK_FRAMES - 1)] = u->found[i].number;
	}
	return at - depth;
}

/* Send the frames of a stack that is new. False: lost, and counted as that. */
static __always_inline bool send_frames(struct kiln_stack *stack, const struct unwinding *u)
{
	__u32 depth = stack->kernel_depth + stack->user_depth + stack->python_depth, words;

	describe_process(stack, task_of(u));
	words = (depth + take_found_code(stack, u, depth)) & (KILN_STACK_FRAMES - 1);
	barrier_var(words);
	if (!bpf_ringbuf_output(&new_stacks, stack, __builtin_offsetof(struct kiln_stack, frames) + words * sizeof stack->frames[0],
		    wakeup_for(stack, task_of(u))))
		return true;
	lose(KILN_LOST_STACKS_RING_FULL, 1);
	return false;
}

/* Add to the sum of a key. False: there is no room. */
static __always_inline bool add_weight(const struct kiln_stack_key *key, __u64 weight)
{
	__u64 *sum = bpf_map_lookup_elem(&stack_weights, key);

	if (!sum) {
		if (!bpf_map_update_elem(&stack_weights, key, &weight, BPF_NOEXIST))
			return true;
		sum = bpf_map_lookup_elem(&stack_weights, key); /* another CPU was first */
		if (!sum)
			return false;
	}
	__sync_fetch_and_add(sum, weight);
	return true;
}

static __always_inline bool lost_without_room(__u64 stacks)
{
	lose(KILN_LOST_STACKS_MAP_FULL, stacks);
	return false;
}

/* Send the frames of a stack that is new: that has no sum without a label. False: lost, and counted as that. */
static __always_inline bool know_frames(struct kiln_stack *stack, const struct unwinding *u)
{
	return bpf_map_lookup_elem(&stack_weights, &stack->key) ||
		(send_frames(stack, u) && (add_weight(&stack->key, 0) || lost_without_room(1)));
}

static __always_inline __u32 stats_row(const struct kiln_stack *stack)
{
	__u32 process = stack->key.process;

	return stack->key.kind * 2 * KILN_MAX_TARGETS + (process < KILN_MAX_TARGETS ? process : KILN_MAX_TARGETS + stack->family);
}

static void drop_settled(const struct kiln_stack_key *key, __u64 stacks)
{
	__u32 row = key->kind * 2 * KILN_MAX_TARGETS + key->process;
	struct kiln_stack_stats *stats = bpf_map_lookup_elem(&stack_stats, &row);

	if (stats)
		__sync_fetch_and_add(&stats->dropped, stacks);
}

/* A task's stack, with its key. `bytes`: so many hold the kernel's frames, which are in place. */
static __always_inline void take_stack(struct kiln_stack *stack, struct unwinding *u, struct task_struct *task, long bytes)
{
	take_kernel_stack(stack, bytes);
	take_thread_name(stack, task);
	unwind_user_stack(stack, u, task);
	take_python_frames(stack, u);
}

/* A program that may be preempted or interrupted by another one that counts the same adds in one instruction. */
static __always_inline void count_in(__u32 where, __u64 *count)
{
	if (where == IN_TASK || where == IN_EVENT)
		__sync_fetch_and_add(count, 1);
	else
		++*count;
}

static __always_inline void count_recorded(__u32 where, struct kiln_stack_stats *stats, const struct kiln_stack *stack)
{
	count_in(where, &stats->recorded);
	if (stack->kernel_depth >= KILN_KERNEL_DEPTH)
		count_in(where, &stats->kernel_truncated);
	if (stack->guessed)
		count_in(where, &stats->guessed);
	if (stack->end < KILN_END_COUNT)
		count_in(where, &stats->ends[stack->end]);
}

/* Take the current thread's stack, whose kind and process are known, and add the weight to it. `frame`: stands for the kernel's frames; 0: nothing. */
static __always_inline void add_stack(void *context, __u32 where, __u32 scratch, struct kiln_stack *stack, struct unwinding *u,
	struct task_struct *task, __u64 weight, __u64 frame)
{
	long bytes = sizeof frame;
	__u32 row = stats_row(stack);
	struct kiln_stack_stats *stats = bpf_map_lookup_elem(&stack_stats, &row);
	struct work_scratch *work = bpf_map_lookup_elem(&work_scratch, &scratch);

	if (!stats || !work)
		return;
	stack->key.label = 0;
	count_in(where, &stats->seen);
	find_work(&work->known, task, stack->key.process);
	if (is_left_out(&work->known)) {
		count_left_out(&work->known, stats);
		return;
	}
	if (frame)
		stack->frames[0] = frame;
	else
		bytes = bpf_get_stack(context, stack->frames, KERNEL_STACK_BYTES, 0);
	take_stack(stack, u, task, bytes);
	__builtin_memset(&work->times, 0, sizeof work->times);
	work->times.ns[0] = weight;
	work->times.waits = 1;
	if (know_frames(stack, u) && add_amount(&stack->key, &work->known, &work->times))
		count_recorded(where, stats, stack);
}

/* Add a weight to the current thread's stack, if its process is one of the session's.
 *
 * `context`: the program's, of a type that bpf_get_stack() takes.
 * `where`: in which enum stack_context the program runs; a constant.
 * `kind`: enum kiln_stack_kind.
 * `weight`: samples, nanoseconds, events, as the kind says. */
static __always_inline void record_stack(void *context, __u32 where, __u16 kind, __u64 weight)
{
	struct kiln_stack *stack = bpf_map_lookup_elem(&stack_scratch, &where);
	struct unwinding *u = bpf_map_lookup_elem(&unwindings, &where);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!stack || !u || !claim_scratch(where))
		return;
	stack->key.kind = kind;
	if (find_process(stack, task))
		add_stack(context, where, where, stack, u, task, weight, 0);
	release_scratch(where);
}

#endif
