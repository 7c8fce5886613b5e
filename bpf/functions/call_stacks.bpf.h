/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The open calls of each stack, the latest on top, as far as their functions are probed.
 *
 * A call is told by the stack pointer when it began. Whatever lies below the present stack pointer is gone: it was left by longjmp or an
 * exception, and is dropped. Calls at the same stack pointer return together: the first ended by a jump to the
 * next (a tail call). Entries of one stack say nothing of another one's, so each thread keeps those of the stack that it runs on (a
 * mapping, which is looked up only when the stack pointer leaves the last one), and those of its other stacks (coroutines,
 * signals) lie aside. The stack of a goroutine is told by the goroutine: it moves, and so does the goroutine between threads. */
#ifndef KILN_CALL_STACKS_BPF_H
#define KILN_CALL_STACKS_BPF_H

#include "common/bpf.h"
#include "functions/losses.bpf.h"
#include "common/members.bpf.h"
#include "functions/variables.bpf.h"
#include "include/kiln_functions.h"

#define NO_CALL 0    /* a call is its index in open_calls + 1; a chunk its index + 1 */
#define CHUNK 16     /* calls that stand next to each other in `open_calls` */
#define CHUNKS 16384 /* for all stacks together, of which each has one at least: 262,144 open calls, 12 MiB */
#define BUCKETS 256

/* A call that has not returned. */
struct open_call {
	__u64 sp; /* when it began; of a goroutine less the end of its stack, which moves */
	__u64 entered_ns;
	__u64 children_ns; /* probed calls that have returned to it */
	__u64 returns_to;
	__u32 row;
	__u32 outer;    /* the call below it in its bucket, + 1 */
	__u32 is_inner; /* the function is open already: in no bucket */
	__u32 may_jump;
};

struct call_stack {
	__u64 low, high;        /* where it lies */
	__u64 seen;             /* the stack pointer, the last time */
	__u64 returned;         /* where the last calls returned; 0: another began since */
	__u32 top;              /* the latest open call */
	__u32 first;            /* chunk */
	__u32 is_guess;         /* the mapping could not be looked up */
	__u32 has_others;       /* the thread has laid stacks aside */
	__u32 buckets[BUCKETS]; /* of functions: the latest outermost open call */
};

/* The stack that a thread runs on. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_stack);
} thread_stacks SEC(".maps");

struct stack_key {
	__u64 stack; /* where it ends, or the goroutine */
	__u32 tgid;
	__u32 tid; /* 0: a goroutine */
};

/* Stacks with open calls that no thread runs on now, and stacks of goroutines. An entry is removed when its thread returns to the stack or ends, when the
 * goroutine's last call returns, or when the process ends or executes another program. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct stack_key);
	__type(value, struct call_stack);
} other_stacks SEC(".maps");

/* An empty stack, to make others of. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call_stack);
} empty_stack SEC(".maps");

/* All open calls, CHUNK next to each other. User space sets its size, and that of `chunks`, to 1 where nothing is timed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CHUNKS *CHUNK);
	__type(key, __u32);
	__type(value, struct open_call);
} open_calls SEC(".maps");

struct chunk {
	__u32 below, above; /* in the same stack, + 1 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CHUNKS);
	__type(key, __u32);
	__type(value, struct chunk);
} chunks SEC(".maps");

/* Chunks of stacks that are gone. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, CHUNKS);
	__type(value, __u32);
} free_chunks SEC(".maps");

static __always_inline struct open_call *call_at(__u32 call)
{
	__u32 index = call - 1;

	return bpf_map_lookup_elem(&open_calls, &index);
}

static __always_inline struct chunk *chunk_at(__u32 chunk)
{
	__u32 index = chunk - 1;

	return bpf_map_lookup_elem(&chunks, &index);
}

/* A chunk above another one, or the first. NO_CALL: there is none left. */
static __always_inline __u32 take_chunk(__u32 below)
{
	struct chunk *taken;
	__u32 chunk = 0;

	if (bpf_map_pop_elem(&free_chunks, &chunk)) {
		if (variables.chunks_given >= CHUNKS)
			return NO_CALL;
		chunk = __sync_fetch_and_add(&variables.chunks_given, 1) + 1;
	}
	taken = chunk_at(chunk);
	if (!taken)
		return NO_CALL;
	taken->below = below;
	taken->above = NO_CALL;
	return chunk;
}

/* Where the next open call goes. NO_CALL: there is no room. */
static __always_inline __u32 place_above(struct call_stack *stack)
{
	__u32 below = stack->top - 1, chunk;
	struct chunk *last;

	if (stack->top == NO_CALL) {
		if (stack->first == NO_CALL)
			stack->first = take_chunk(NO_CALL);
		return stack->first == NO_CALL ? NO_CALL : (stack->first - 1) * CHUNK + 1;
	}
	if (below % CHUNK != CHUNK - 1)
		return stack->top + 1;
	last = chunk_at(below / CHUNK + 1);
	if (!last)
		return NO_CALL;
	if (last->above == NO_CALL)
		last->above = take_chunk(below / CHUNK + 1);
	chunk = last->above;
	return chunk == NO_CALL ? NO_CALL : (chunk - 1) * CHUNK + 1;
}

/* The call below another one; NO_CALL: it is the lowest. */
static __always_inline __u32 place_below(__u32 call)
{
	__u32 index = call - 1;
	struct chunk *chunk;

	if (index % CHUNK)
		return call - 1;
	chunk = chunk_at(index / CHUNK + 1);
	return chunk && chunk->below != NO_CALL ? chunk->below * CHUNK : NO_CALL;
}

static long give_back_one(__u32 step, __u32 *next)
{
	struct chunk *chunk = chunk_at(*next);
	__u32 given = *next;

	if (!chunk)
		return 1;
	*next = chunk->above;
	bpf_map_push_elem(&free_chunks, &given, BPF_ANY);
	return 0;
}

/* A stack is gone: its chunks, of which this is the first, are free for others. */
static __always_inline void give_back_chunks(__u32 first)
{
	if (first != NO_CALL)
		bpf_loop(CHUNKS, give_back_one, &first, 0);
}

static __always_inline void make_empty(struct call_stack *stack)
{
	__u32 zero = 0;
	struct call_stack *empty = bpf_map_lookup_elem(&empty_stack, &zero);

	if (empty)
		bpf_probe_read_kernel(stack, sizeof *stack, empty);
}

/* Removes an entry of `other_stacks`, if there is one. Of two CPUs that do so at a time, one gives the chunks back. */
static __always_inline void drop_other(const struct stack_key *key)
{
	struct call_stack *stack = bpf_map_lookup_elem(&other_stacks, key);
	__u32 first;

	if (!stack)
		return;
	first = stack->first;
	if (bpf_map_delete_elem(&other_stacks, key))
		return;
	__sync_fetch_and_sub(&variables.other_stacks, 1);
	give_back_chunks(first);
}

struct ended {
	__u32 tgid;
	__u32 tid; /* 0: the whole process */
};

static long drop_if_ended(void *map, const struct stack_key *key, struct call_stack *stack, struct ended *ended)
{
	struct stack_key own = *key;

	if (own.tgid == ended->tgid && (!ended->tid || own.tid == ended->tid))
		drop_other(&own);
	return 0;
}

/* The present thread ends, or with its process all threads, or it executes another program: what was open will not return. */
static __always_inline void end_stacks(bool of_process)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ended ended = { .tgid = task->tgid, .tid = of_process ? 0 : task->pid };
	bool has_others = of_process;
	struct membership member;
	struct call_stack *stack;

	if (!find_family(&member, task))
		return;
	stack = bpf_task_storage_get(&thread_stacks, task, NULL, 0);
	if (stack) {
		has_others = has_others || stack->has_others;
		give_back_chunks(stack->first);
		make_empty(stack);
	}
	if (has_others && variables.other_stacks)
		bpf_for_each_map_elem(&other_stacks, drop_if_ended, &ended, 0);
}

struct stack_range {
	__u64 low, high;
};

static long note_range(struct task_struct *task, struct vm_area_struct *area, struct stack_range *range)
{
	range->low = area->vm_start;
	range->high = area->vm_end;
	return 0;
}

/* The mapping that holds an address. False: the kernel can't say at the moment, because the process changes its mappings. */
static __always_inline bool find_range(struct stack_range *range, __u64 address)
{
	return !bpf_find_vma(bpf_get_current_task_btf(), address, note_range, range, 0) && range->high;
}

/* A stack whose mapping isn't known yet is taken to lie around the stack pointer. */
#define NEAR_BYTES (64 << 10)

static __always_inline void place_around(struct call_stack *stack, __u64 sp)
{
	stack->low = sp - NEAR_BYTES;
	stack->high = sp + NEAR_BYTES;
	stack->is_guess = true;
}

/* The calls of a stack that the thread leaves lie aside. False: no room. */
static __always_inline bool lay_aside(struct call_stack *stack, struct stack_key *key)
{
	struct stack_range range = {};

	if (stack->top == NO_CALL)
		return true;
	if (stack->is_guess && find_range(&range, stack->seen))
		stack->high = range.high;
	key->stack = stack->high;
	drop_other(key); /* a guess was wrong */
	if (bpf_map_update_elem(&other_stacks, key, stack, BPF_ANY))
		return false;
	__sync_fetch_and_add(&variables.other_stacks, 1);
	stack->first = NO_CALL;
	return true;
}

/* The stack pointer lies outside of what was known of the thread's stack: it runs on another one, or more is known of this one now. False: it isn't
 * known on which, or there is no room; either is counted, the latter once for a call. Not a global function: Linux 6.1 takes no value of a map from
 * an argument of one. */
static __noinline int change_stack(struct call_stack *stack, __u64 sp, bool is_beginning)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct stack_key key = { .tgid = task->tgid, .tid = task->pid };
	struct stack_range range = {};
	struct call_stack *other;
	bool has_others;

	if (!stack)
		return false;
	if (!find_range(&range, sp)) {
		if (stack->top != NO_CALL) {
			lose(KILN_LOST_UNKNOWN_STACKS, 1);
			return false;
		}
		place_around(stack, sp);
		return true;
	}
	if (stack->seen < range.low || stack->seen >= range.high) {
		has_others = stack->has_others || stack->top != NO_CALL;
		if (!lay_aside(stack, &key)) {
			key.stack = range.high;
			if (is_beginning || bpf_map_lookup_elem(&other_stacks, &key))
				lose(KILN_LOST_CALL_STACKS_FULL, 1);
			return false;
		}
		key.stack = range.high;
		other = bpf_map_lookup_elem(&other_stacks, &key);
		if (other) {
			give_back_chunks(stack->first);
			bpf_probe_read_kernel(stack, sizeof *stack, other);
			bpf_map_delete_elem(&other_stacks, &key);
			__sync_fetch_and_sub(&variables.other_stacks, 1);
		} else if (stack->top != NO_CALL) {
			make_empty(stack);
		}
		stack->has_others = has_others;
	}
	stack->low = range.low;
	stack->high = range.high;
	stack->is_guess = false;
	return true;
}

/* The stack of the thread that runs; NULL: not known, or no room, counted. */
static __always_inline struct call_stack *stack_of_thread(__u64 sp, bool is_beginning)
{
	struct call_stack *stack = bpf_task_storage_get(&thread_stacks, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!stack) {
		lose(KILN_LOST_UNKNOWN_STACKS, 1);
		return NULL;
	}
	if ((sp < stack->low || sp >= stack->high) && !change_stack(stack, sp, is_beginning))
		return NULL;
	stack->seen = sp;
	return stack;
}

/* The stack of a goroutine, and the stack pointer in it as the distance from its end. Assembly functions may use r14 otherwise, so it
 * is a goroutine only if the stack pointer lies in its stack. NULL: not known, or no room, counted. */
static __always_inline struct call_stack *stack_of_goroutine(__u64 goroutine, __u64 *sp, bool is_beginning)
{
	struct stack_range range = {}; /* the first two words of a goroutine (runtime.g) */
	struct stack_key key = { .stack = goroutine, .tgid = bpf_get_current_pid_tgid() >> 32 };
	struct call_stack *stack;
	__u32 zero = 0;

	if (bpf_probe_read_user(&range, sizeof range, (const void *)goroutine) || *sp < range.low || *sp >= range.high) {
		lose(KILN_LOST_UNKNOWN_STACKS, 1);
		return NULL;
	}
	*sp -= range.high;
	stack = bpf_map_lookup_elem(&other_stacks, &key);
	if (stack)
		return stack;
	stack = bpf_map_lookup_elem(&empty_stack, &zero);
	if (!stack)
		return NULL;
	if (bpf_map_update_elem(&other_stacks, &key, stack, BPF_NOEXIST)) {
		if (is_beginning)
			lose(KILN_LOST_CALL_STACKS_FULL, 1);
		return NULL;
	}
	__sync_fetch_and_add(&variables.other_stacks, 1);
	return bpf_map_lookup_elem(&other_stacks, &key);
}

/* Goroutines are many, and their end is not seen: without an open call, they need no entry. */
static __always_inline void leave_goroutine(const struct call_stack *stack, __u64 goroutine)
{
	struct stack_key key = { .stack = goroutine, .tgid = bpf_get_current_pid_tgid() >> 32 };

	if (stack->top == NO_CALL)
		drop_other(&key);
}

#endif
