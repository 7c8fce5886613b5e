/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls: how a call is named by a number, and which are asked for. */
#ifndef KILN_CALL_NUMBERS_H
#define KILN_CALL_NUMBERS_H

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

/* A frame KILN_CALL_FRAME | call replaces the kernel's frames of that system call; no kernel address is that low. */
#define KILN_CALL_FRAME (1ULL << 32)

/* The calls that are asked for. User space chooses them before loading. */
struct kiln_chosen_calls {
	__u32 chooses;                                     /* 0: all, even numbers of no call; `bits` are not read */
	__u32 own_tgid;                                    /* of kiln, whose calls are never among them */
	__u64 bits[KILN_ABI_COUNT][KILN_ABI_NUMBERS / 64]; /* one for each number */
};

/* The loss of a call, for the losses of each object that follows calls. `symbol` is the object's own. */
#define KILN_FLIGHT_LOSS(X, symbol) \
	X(symbol, "calls_not_followed", "system calls of a thread with which the kernel could not keep anything: it had no memory")

#pragma clang diagnostic pop

#endif
