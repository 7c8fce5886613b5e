/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of syscalls.bpf.c. */
#ifndef KILN_SYSCALLS_H
#define KILN_SYSCALLS_H

#include "kiln_targets.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_SYSCALL_NUMBERS 512 /* x86-64 uses numbers below 470 */

/* One cell of `syscall_stats`, index process * KILN_SYSCALL_NUMBERS + number; one copy for each possible CPU. */
struct kiln_syscall_stats {
	__u64 count;  /* returns seen */
	__u64 errors; /* of them, those that returned -errno */
};

#define KILN_SYSCALL_LOSSES(X) \
	X(COMPAT_SYSCALLS, "compat_syscalls", "32-bit system calls: numbered differently, not counted by name") \
	X(SYSCALL_NUMBERS_OUT_OF_RANGE, "syscall_numbers_out_of_range", "system calls with a number of 512 or more")

enum kiln_syscall_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_SYSCALL_LOSSES(X)
#undef X
		KILN_SYSCALL_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
