/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of call_trace.bpf.c: single system calls. */
#ifndef KILN_CALL_TRACE_H
#define KILN_CALL_TRACE_H

#include "kiln_call_numbers.h"
#include "kiln_members.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_CALL_ARGUMENTS 6           /* what the kernel takes at most */
#define KILN_CALL_RING_BYTES (32 << 20) /* records on their way to user space: 279,000 calls */

/* What user space chooses before loading. */
struct kiln_call_options {
	__u64 slower_than_ns; /* only calls that take as long */
	__u32 failed;         /* only calls that return an errno */
	__u32 reserved;
	struct kiln_chosen_calls calls;
};

/* Variables that both sides use while programs run. */
struct kiln_call_session {
	__u64 began_ns; /* 0: not yet. What returned before has no record. Written by user space, once */
};

enum kiln_call_flag {
	KILN_CALL_RETURNED = 1 << 0,       /* otherwise its thread ended in it */
	KILN_CALL_ARGUMENTS_LOST = 1 << 1, /* of an exec whose entry was not seen */
	KILN_CALL_EARLIER = 1 << 2,        /* it began before the session */
};

/* Times are CLOCK_MONOTONIC. */
struct kiln_call_record {
	__u64 entered_ns; /* 0: its entry was not seen: it began before the session, was skipped by seccomp or a tracer, or made its thread a member */
	__u64 ended_ns;
	__s64 returned;
	__u32 call;   /* KILN_CALL() */
	__s32 number; /* of KILN_NO_SUCH_NUMBER: what the caller gave, with the bit of x32 */
	__u32 flags;
	__u32 tgid;
	__u32 tid;
	__u32 reserved;
	char comm[KILN_COMM_BYTES]; /* of the thread */
	__u64 arguments[KILN_CALL_ARGUMENTS];
};

#define KILN_CALL_LOSSES(X) \
	X(CALL_RING_FULL, "calls_lost", "system calls without a line: the ring to user space was full") \
	KILN_FLIGHT_LOSS(X, CALL_NOT_FOLLOWED) \
	KILN_DESCENDANT_LOSS(X, CALL_TRACE_DESCENDANTS_MAP_FULL)

enum kiln_call_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_CALL_LOSSES(X)
#undef X
		KILN_CALL_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
