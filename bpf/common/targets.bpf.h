/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which task belongs to the session. */
#ifndef KILN_TARGETS_BPF_H
#define KILN_TARGETS_BPF_H

#include "common/bpf.h"
#include "include/kiln_targets.h"

const volatile struct kiln_targets targets SEC(".rodata.targets");

/* The index of a thread group among the targets, or -1. The list is constant when the verifier runs, which removes the
 * comparisons with slots that are not used. */
static __always_inline int target_index(__u32 tgid)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_MAX_TARGETS; i++) {
		if (i >= targets.count)
			break;
		if (tgid == targets.tgids[i])
			return i;
	}
	return -1;
}

/* Whether a process is known to serve the protocol, by its name or its program. */
static __always_inline bool is_known_server(__u32 process)
{
	return targets.known_servers >> (process & (KILN_MAX_TARGETS - 1)) & 1;
}

/* Whether all are: as a rule. A constant when the verifier runs, which then leaves out what only others need: a third of its work. */
static __always_inline bool all_are_known_servers(void)
{
	return targets.known_servers == (1U << targets.count) - 1;
}

#endif
