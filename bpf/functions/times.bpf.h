/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Times of functions: outermost calls as histograms, and self time. */
#ifndef KILN_FUNCTION_TIMES_BPF_H
#define KILN_FUNCTION_TIMES_BPF_H

#include "common/bpf.h"
#include "functions/losses.bpf.h"
#include "functions/variables.bpf.h"
#include "include/kiln_functions.h"

/* Shared by all CPUs, because a copy for each of them would take gigabytes on large hosts. User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_FUNCTION_TIMES_MOST);
	__type(key, __u32);
	__type(value, struct kiln_function_times);
} function_times SEC(".maps");

#define BEING_GIVEN 0xffffffffU

/* Key: row; value: its index in function_times + 1; 0: it has none; BEING_GIVEN: another CPU takes one for it now. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} times_of_rows SEC(".maps");

#define GIVING_STEPS 64 /* takes longer than another CPU needs, if it isn't interrupted */

/* NULL: no room, counted. */
static __always_inline struct kiln_function_times *times_of(__u32 row)
{
	__u32 *held = bpf_map_lookup_elem(&times_of_rows, &row), place, i;
	struct kiln_function_times *times;

	if (!held)
		return NULL;
	place = *held;
	if (!place) {
		place = __sync_val_compare_and_swap(held, 0, BEING_GIVEN);
		if (!place)
			*held = place = __sync_fetch_and_add(&variables.times_given, 1) + 1;
	}
	for (i = 0; i < GIVING_STEPS && place == BEING_GIVEN; i++)
		place = *(volatile __u32 *)held;
	place--;
	times = bpf_map_lookup_elem(&function_times, &place);
	if (!times)
		lose(KILN_LOST_FUNCTIONS_WITHOUT_TIMES, 1);
	return times;
}

/* Another CPU may store a larger one meanwhile; more than a few times in a row it doesn't. */
static __always_inline void raise_max(__u64 *max, __u64 value)
{
	__u64 known = *max;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		__u64 before = known;

		if (value <= before)
			return;
		known = __sync_val_compare_and_swap(max, before, value);
		if (known == before)
			return;
	}
}

static __always_inline void note_return(__u32 row, __u64 total_ns, __u64 self_ns, bool is_outermost)
{
	struct kiln_function_times *times = times_of(row);
	__u32 slot;

	if (!times)
		return;
	__sync_fetch_and_add(&times->returned, 1);
	__sync_fetch_and_add(&times->self_ns, self_ns);
	if (!is_outermost)
		return;
	slot = kiln_histogram_slot(total_ns);
	barrier_var(slot); /* Linux 6.1 takes a copy for unbounded otherwise */
	if (slot > KILN_HISTOGRAM_OVERFLOW_SLOT)
		return;
	__sync_fetch_and_add(&times->slots[slot], 1);
	__sync_fetch_and_add(&times->outermost.sum_ns, total_ns);
	raise_max(&times->outermost.max_ns, total_ns);
}

static __always_inline void note_never_returned(__u32 row)
{
	struct kiln_function_times *times = times_of(row);

	if (times)
		__sync_fetch_and_add(&times->never_returned, 1);
}

#endif
