/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* On-CPU stacks: a timer on every CPU samples what runs. */
#ifndef KILN_ON_CPU_BPF_H
#define KILN_ON_CPU_BPF_H

#include "stacks/record_stack.bpf.h"

SEC("perf_event")
int sample(struct bpf_perf_event_data *context)
{
	record_stack(context, IN_TIMER, KILN_STACK_ON_CPU, 1);
	return 0;
}

#endif
