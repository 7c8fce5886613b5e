/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The latency histogram both sides share: log-linear, 16 equal slots in every power of two.
 *
 * Slot i < 16 holds the value i (ns). Above, slot 16 * (e - 3) + m holds [2^e + m * 2^(e-4), + 2^(e-4)) for the
 * exponent e = 4..35 and m = 0..15: 528 slots reach from 0 ns to 2^36 ns (69 s). One more slot takes what is longer.
 * The midpoint of a slot is within 1/32 (3.1 %) of every value in it.
 */
#ifndef KILN_HISTOGRAM_H
#define KILN_HISTOGRAM_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"    /* no hidden bytes in what both sides share */

#define KILN_HISTOGRAM_SLOTS 528
#define KILN_HISTOGRAM_OVERFLOW_SLOT KILN_HISTOGRAM_SLOTS
#define KILN_HISTOGRAM_LIMIT_NS (1ULL << 36)

/* Beside the slots, which add up to the number of latencies. */
struct kiln_latency_sum {
	__u64 sum_ns;
	__u64 max_ns;
};

/* 1 << bits, where `value` (below 2^63) is larger than `limit`, otherwise 0: the sign of their difference. */
static inline __u64 kiln_larger(__u64 value, __u64 limit, __u32 bits)
{
	return (limit - value) >> 63 << bits;
}

/* The slot of a latency. BPF has no count-leading-zeros, and no CPU foresees the branches of a search for the highest bit:
 * with them, the slots took 45 ns of a GET. */
static inline __attribute__((always_inline)) __u32 kiln_histogram_slot(__u64 ns)
{
	__u64 rest = ns, exponent, step;

	if (ns >= KILN_HISTOGRAM_LIMIT_NS)
		return KILN_HISTOGRAM_OVERFLOW_SLOT;
	if (ns < 16)
		return (__u32)ns;
	exponent = kiln_larger(rest, 0xffffffff, 5);
	rest >>= exponent;
	step = kiln_larger(rest, 0xffff, 4);
	rest >>= step;
	exponent += step;
	step = kiln_larger(rest, 0xff, 3);
	rest >>= step;
	exponent += step;
	step = kiln_larger(rest, 0xf, 2);
	rest >>= step;
	exponent += step;
	step = kiln_larger(rest, 3, 1);
	rest >>= step;
	exponent += step + kiln_larger(rest, 1, 0);
	return (__u32)(((exponent - 3) << 4) + ((ns >> ((exponent - 4) & 63)) & 15));
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
