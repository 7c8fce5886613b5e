/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The latency histogram both sides share: log-linear, 16 equal slots in every power of two.
 *
 * Slot i < 16 holds the value i (ns). Above, slot 16 * (e - 3) + m holds [2^e + m * 2^(e-4), + 2^(e-4)) for the
 * exponent e = 4..35 and m = 0..15: 528 slots reach from 0 ns to 2^36 ns (69 s). One more slot takes what is longer.
 * The midpoint of a slot is within 1/32 (3.1 %) of every value in it.
 */
#ifndef KILN_HISTOGRAM_H
#define KILN_HISTOGRAM_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_HISTOGRAM_SLOTS 528
#define KILN_HISTOGRAM_OVERFLOW_SLOT KILN_HISTOGRAM_SLOTS
#define KILN_HISTOGRAM_LIMIT_NS (1ULL << 36)

/* Beside the slots, which add up to the number of latencies. */
struct kiln_latency_sum {
	__u64 sum_ns;
	__u64 max_ns;
};

/* The binary logarithm of a byte, rounded down; of 0: 0. */
#define KILN_16(n) n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n
static const __u8 kiln_log2[256] = {
	0,
	0,
	1,
	1,
	2,
	2,
	2,
	2,
	3,
	3,
	3,
	3,
	3,
	3,
	3,
	3,
	KILN_16(4),
	KILN_16(5),
	KILN_16(5),
	KILN_16(6),
	KILN_16(6),
	KILN_16(6),
	KILN_16(6),
	KILN_16(7),
	KILN_16(7),
	KILN_16(7),
	KILN_16(7),
	KILN_16(7),
	KILN_16(7),
	KILN_16(7),
	KILN_16(7),
};
#undef KILN_16

/* The slot of a latency. BPF has no count-leading-zeros, and no CPU foresees the branches of a search for the highest bit:
 * with them, the slots took 45 ns of a GET. So a table tells it of a byte, and signs of differences which byte that is. */
static inline __attribute__((always_inline)) __u32 kiln_histogram_slot(__u64 ns)
{
	__u64 shift;

	if (ns < 1 << 28)
		shift = 4 + ((0xfff - ns) >> 63 << 3) + ((0xfffff - ns) >> 63 << 3); /* 4, 12 or 20 */
	else if (ns < KILN_HISTOGRAM_LIMIT_NS)
		shift = 28;
	else
		return KILN_HISTOGRAM_OVERFLOW_SLOT;
	shift += kiln_log2[ns >> shift & 255] - 4; /* e - 4; 0 for what is below 16 */
	return (__u32)((shift << 4) + (ns >> shift));
}

/* The least latency (ns) that falls into a slot; for the slot after the last one: the histogram's reach. */
static inline __u64 kiln_histogram_slot_lower(__u32 slot)
{
	__u32 exponent = (slot >> 4) + 3;

	if (slot < 16)
		return slot;
	return (1ULL << exponent) + ((__u64)(slot & 15) << (exponent - 4));
}

#pragma clang diagnostic pop

#endif
