/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose turn it is on a CPU. Tracepoints run with preemption off. Programs of functions (fentry, fexit, uprobes) don't have to, and
 * what they preempt or are preempted by uses the same scratch and the same counters of that CPU. So each claims the CPU
 * while it uses them: who finds it claimed is lost, and counted. They stay on their CPU meanwhile. */
#ifndef KILN_PREEMPTION_BPF_H
#define KILN_PREEMPTION_BPF_H

#include "common/bpf.h"
#include "requests/commands.bpf.h"

/* Key: 0; value, of each CPU: a program that can be preempted uses the scratch. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} cpu_claims SEC(".maps");

static __always_inline bool lost_to_preemption(struct connection *x)
{
	lose(KILN_LOST_PREEMPTED_CALLS, 1);
	if (x)
		desync(x);
	return false;
}

/* `x`: whose receive or send is lost if the CPU can't be had; may be NULL. */
static __always_inline bool claim_cpu(struct connection *x)
{
	__u32 zero = 0, *claim = bpf_map_lookup_elem(&cpu_claims, &zero);

	return claim && !__sync_lock_test_and_set(claim, 1) ? true : lost_to_preemption(x);
}

static __always_inline void release_cpu(void)
{
	__u32 zero = 0, *claim = bpf_map_lookup_elem(&cpu_claims, &zero);

	if (claim)
		*(volatile __u32 *)claim = 0;
}

/* For programs that can't be preempted: whether this one runs in the middle of one that was. */
static __always_inline bool is_cpu_claimed(struct connection *x)
{
	__u32 zero = 0, *claim = bpf_map_lookup_elem(&cpu_claims, &zero);

	return claim && *(volatile __u32 *)claim && !lost_to_preemption(x);
}

#endif
