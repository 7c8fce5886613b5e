/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* In which system call a thread is, by the registers that it saved when it entered the kernel. */
#ifndef KILN_WORK_CALLS_BPF_H
#define KILN_WORK_CALLS_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"

/* Of x86-64. An interrupt saves -1 as the call's number, an exception its error code: that of a page fault while an instruction is fetched is
 * writev's number, and in a call the register of the result holds -ENOSYS until there is one. */
static __always_inline __u16 call_of(const struct pt_regs *regs)
{
	enum { NR_writev = 20, ENOSYS = 38 };

	switch (regs->orig_ax) {
	case 0:   /* read */
	case 19:  /* readv */
	case 45:  /* recvfrom */
	case 47:  /* recvmsg */
	case 299: /* recvmmsg */
		return KILN_CALL_RECEIVE;
	case NR_writev:
		return regs->ax == (unsigned long)-ENOSYS ? KILN_CALL_SEND : KILN_CALL_NONE;
	case 1:   /* write */
	case 44:  /* sendto */
	case 46:  /* sendmsg */
	case 307: /* sendmmsg */
		return KILN_CALL_SEND;
	}
	return kiln_is_multiplexer(regs->orig_ax) ? KILN_CALL_WAIT : KILN_CALL_NONE;
}

/* The descriptor that it was called with; -1: it has none that matters. */
static __always_inline __s32 descriptor_of(const struct pt_regs *regs, __u16 call)
{
	return call == KILN_CALL_RECEIVE || call == KILN_CALL_SEND ? (__s32)regs->di : -1;
}

#endif
