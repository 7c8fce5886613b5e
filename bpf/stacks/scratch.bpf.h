/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which thread's stack is taken in which scratch of a CPU (enum stack_context). */
#ifndef KILN_SCRATCH_BPF_H
#define KILN_SCRATCH_BPF_H

#include "common/bpf.h"
#include "stacks/losses.bpf.h"
#include "stacks/unwinding.bpf.h"

struct scratch_claims {
	__u64 of[STACK_CONTEXTS]; /* 0: free */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch_claims);
} scratch_claims SEC(".maps");

/* Of the current thread, also in an interrupt of it. */
static __always_inline __u64 own_mark(void)
{
	return (bpf_get_current_pid_tgid() & 0xffffffff) + 1;
}

static __always_inline struct scratch_claims *claims_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch_claims, &zero);
}

/* False: it is taken, and counted as that. Only the program of IN_TASK may be preempted, and another one begin on the same CPU. */
static __always_inline bool claim_scratch(__u32 where)
{
	struct scratch_claims *claims = claims_of_cpu();

	if (!claims || where >= STACK_CONTEXTS)
		return true;
	if (where != IN_TASK) {
		claims->of[where] = own_mark();
		return true;
	}
	if (!__sync_val_compare_and_swap(&claims->of[IN_TASK], 0, own_mark()))
		return true;
	lose(KILN_LOST_NESTED_STACKS, 1);
	return false;
}

static __always_inline void release_scratch(__u32 where)
{
	struct scratch_claims *claims = claims_of_cpu();

	if (claims && where < STACK_CONTEXTS)
		__sync_lock_test_and_set(&claims->of[where], 0);
}

/* Whether a program is taking the current thread's stack: it was interrupted, or caused the event that the current program sees. */
static __always_inline bool is_being_taken(void)
{
	struct scratch_claims *claims = claims_of_cpu();
	__u64 mark = own_mark();
	__u32 i;

	if (!claims)
		return false;
#pragma unroll
	for (i = 0; i < STACK_CONTEXTS; i++)
		if (claims->of[i] == mark)
			return true;
	return false;
}

/* A free scratch for an event; STACK_CONTEXTS: there is none, which is counted. */
static __always_inline __u32 claim_event_scratch(void)
{
	struct scratch_claims *claims = claims_of_cpu();
	__u64 mark = own_mark();
	__u32 i;

	if (!claims)
		return STACK_CONTEXTS;
#pragma unroll
	for (i = IN_EVENT; i < STACK_CONTEXTS; i++)
		if (!claims->of[i] && !__sync_val_compare_and_swap(&claims->of[i], 0, mark))
			return i;
	lose(KILN_LOST_NESTED_STACKS, 1);
	return STACK_CONTEXTS;
}

#endif
