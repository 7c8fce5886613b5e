/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* No silent loss: each early return that loses an event counts it here, by name. Define LOSS_COUNT before. */
#ifndef KILN_LOSSES_BPF_H
#define KILN_LOSSES_BPF_H

#include "common/bpf.h"

/* Key: a loss; value: how many, one for each CPU. Written by the programs, read by user space, never cleared. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

/* A call, though it is short: its places are many, and all of them are in the way of what is followed. */
__noinline int lose(__u32 loss, __u64 amount)
{
	__u64 *lost = bpf_map_lookup_elem(&losses, &loss);

	if (lost)
		*lost += amount;
	return 0;
}

#endif
