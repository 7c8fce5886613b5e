/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A hash of words, one after the other: by multiplication (Knuth, The Art of Computer Programming, volume 3, section 6.4). */
#ifndef KILN_MIX_H
#define KILN_MIX_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

static inline __u64 kiln_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
	return hash ^ (hash >> 32);
}

#endif
