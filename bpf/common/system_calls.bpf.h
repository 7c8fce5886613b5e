/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls as x86-64 numbers them, and what their numbers and returns mean. */
#ifndef KILN_SYSTEM_CALLS_BPF_H
#define KILN_SYSTEM_CALLS_BPF_H

#include "common/bpf.h"

#define TS_COMPAT 2 /* of thread_info.status: the call in flight is one of the 32-bit table */
#define X32_SYSCALL_BIT 0x40000000
#define MAX_ERRNO 4095

enum {
	NR_rt_sigreturn = 15,
	NR_clone = 56,
	NR_fork = 57,
	NR_vfork = 58,
	NR_execve = 59,
	NR_prctl = 157,
	NR_execveat = 322,
	NR_clone3 = 435 /* of all tables */
};
enum {
	NR_fork_32_BIT = 2,
	NR_execve_32_BIT = 11,
	NR_clone_32_BIT = 120,
	NR_prctl_32_BIT = 172,
	NR_vfork_32_BIT = 190,
	NR_execveat_32_BIT = 358
};
enum { NR_execve_X32 = 520, NR_execveat_X32 = 545 }; /* the others have the native numbers */

static __always_inline bool is_errno(long returned)
{
	return returned < 0 && returned >= -MAX_ERRNO;
}

#endif
