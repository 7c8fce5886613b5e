/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of functions.bpf.c. A function is a row, by its index in the session's list. */
#ifndef KILN_FUNCTIONS_H
#define KILN_FUNCTIONS_H

#include "kiln_histogram.h"
#include "kiln_members.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* A probe's cookie: the row, and these. */
#define KILN_PROBE_ROW_MASK 0xffffffffULL
#define KILN_PROBE_OF_SECOND_SET (1ULL << 32) /* where a smaller set of probes follows a larger one, both count for a moment, apart */
#define KILN_PROBE_OF_GO (1ULL << 33)         /* the stack is that of a goroutine, whose address is in r14 */
#define KILN_PROBE_MAY_JUMP (1ULL << 34)      /* the function may end by a jump to another one */
#define KILN_PROBE_OF_TRIAL (1ULL << 35)      /* kiln measures what a call costs: all that a member's call does is done */

/* One of `function_calls`, by row; one copy for each possible CPU. */
struct kiln_function_calls {
	__u64 of_set[2];
};

/* One of `function_times`, in the order in which functions were first seen to return. */
struct kiln_function_times {
	__u64 slots[KILN_HISTOGRAM_SLOTS + 1]; /* outermost calls */
	struct kiln_latency_sum outermost;
	__u64 self_ns;        /* of all calls that returned, without the probed calls that returned to them */
	__u64 returned;       /* calls, outermost or not */
	__u64 never_returned; /* their frame was left by longjmp or an exception */
};

#define KILN_FUNCTION_TIMES_MOST 8192 /* functions with times: 35 MiB */

struct kiln_function_options {
	__u32 return_probes; /* returns are seen by return probes, not at return instructions */
	__u32 one_process;   /* the probes see only the target */
	__u32 own_tgid;      /* of kiln, which counts none of its own calls */
};

/* What the running programs share. */
struct kiln_function_variables {
	__u64 timing_set; /* of probes: two sets see each call for a moment, when a smaller one follows a larger one, and one of them times */
	__u32 chunks_given;
	__u32 times_given;
	__u64 other_stacks; /* entries of that map */
};

#define KILN_FUNCTION_LOSSES(X) \
	X(CALL_STACKS_FULL, "call_stacks_full", \
		"calls that were counted and not timed: too many were open; there is room for 262,144, each stack takes it by 16") \
	X(UNKNOWN_STACKS, "unknown_stacks", \
		"calls and returns that were not timed: it could not be told which stack the thread runs on, or the stack could not be read") \
	X(RETURNS_WITHOUT_ENTRY, "returns_without_entry", \
		"returns of calls whose beginning was not timed: they began before the session or found no room, or their thread ran on another stack meanwhile") \
	X(CALLS_NESTED_TOO_DEEP, "calls_nested_too_deep", \
		"calls that were counted and not timed: the kernel follows at most 64 probed returns of a thread") \
	KILN_DESCENDANT_LOSS(X, FUNCTION_DESCENDANTS_MAP_FULL) \
	X(FUNCTIONS_WITHOUT_TIMES, "functions_without_times", \
		"returns, and calls that never returned, without a place for their times: more than 8,192 functions returned, or another CPU was just taking the place")

enum kiln_function_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_FUNCTION_LOSSES(X)
#undef X
		KILN_FUNCTION_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
