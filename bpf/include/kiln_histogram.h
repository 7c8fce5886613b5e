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

struct kiln_histogram {
	__u64 count;
	__u64 sum_ns;
	__u64 max_ns;
	__u64 slots[KILN_HISTOGRAM_SLOTS + 1];
};

/* The slot of a latency. Branches instead of a count-leading-zeros: BPF has no such instruction. */
static inline __u32 kiln_histogram_slot(__u64 ns)
{
	__u64 rest = ns;
	__u32 exponent = 0;

	if (ns >= KILN_HISTOGRAM_LIMIT_NS)
		return KILN_HISTOGRAM_OVERFLOW_SLOT;
	if (ns < 16)
		return (__u32)ns;
	if (rest >> 32) { exponent += 32; rest >>= 32; }
	if (rest >> 16) { exponent += 16; rest >>= 16; }
	if (rest >> 8) { exponent += 8; rest >>= 8; }
	if (rest >> 4) { exponent += 4; rest >>= 4; }
	if (rest >> 2) { exponent += 2; rest >>= 2; }
	if (rest >> 1) exponent += 1;
	return ((exponent - 3) << 4) + (__u32)((ns >> ((exponent - 4) & 63)) & 15);
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
