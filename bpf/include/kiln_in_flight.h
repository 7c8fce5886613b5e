/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls in flight: how a call is named by a number, and what is kept of it while it runs. */
#ifndef KILN_IN_FLIGHT_H
#define KILN_IN_FLIGHT_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* The tables of system calls of x86-64. */
enum kiln_syscall_abi {
	KILN_ABI_NATIVE,
	KILN_ABI_32_BIT, /* of 32-bit programs, and of int 0x80 in others */
	KILN_ABI_X32,
	KILN_ABI_COUNT,
};

#define KILN_ABI_NUMBERS 576 /* of each table; x86-64 uses numbers below 475, x32 some from 512 on */

/* A system call with its table. */
#define KILN_CALL(abi, number) ((__u32)(abi) << 16 | (number))
#define KILN_CALL_ABI(call) ((call) >> 16)
#define KILN_CALL_NUMBER(call) ((call)&0xffff)
#define KILN_NO_SUCH_NUMBER 0xffff /* all numbers beyond, and calls of unknown numbers that share a row */

/* With KILN_CALL(): stands in a stack for the kernel's frames of a call. No address of the kernel is as low. */
#define KILN_CALL_FRAME (1ULL << 32)

enum kiln_flight_state {
	KILN_FLIGHT_NONE,
	KILN_FLIGHT_ENTERED, /* the entry was seen */
	KILN_FLIGHT_EARLIER, /* the thread was there before the session; what it returns from first began before, too */
	KILN_FLIGHT_OUTSIDE, /* entered by a thread that was none of the session's: an exec may make it one */
};

#define KILN_FLIGHT_ROWS 8 /* a power of two */

/* The loss of a call, for the losses of each object that follows calls. `symbol` is the object's own. */
#define KILN_FLIGHT_LOSS(X, symbol) \
	X(symbol, "calls_not_followed", "system calls of a thread with which the kernel could not keep anything: it had no memory")

/* What is kept with each thread of the session. */
struct kiln_in_flight {
	__u64 entered_ns;
	__u32 call;      /* KILN_CALL() of the call in flight, or of the last one */
	__u8 state;      /* enum kiln_flight_state */
	__u8 is_member;  /* the thread has been found to be the session's */
	__u8 is_counted; /* the last call was counted, and its stack is to be taken */
	__u8 reserved;
	__u64 took_ns; /* of that call: its time in the session */
	struct {
		__u32 call; /* plus 1; 0: none */
		__u32 row;  /* where it is counted */
	} rows[KILN_FLIGHT_ROWS];
};

#pragma clang diagnostic pop

#endif
