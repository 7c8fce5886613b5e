/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls in flight, by thread: when each began and which it is. The number is that of the entry, because rt_sigreturn leaves none, and its
 * arguments still lie in the saved registers when it returns.
 *
 * Kept in the storage of the task, not by tid: an exec by a thread that is not the leader changes its tid, there is no capacity, and entries go with
 * their tasks. */
#ifndef KILN_IN_FLIGHT_BPF_H
#define KILN_IN_FLIGHT_BPF_H

#include "common/bpf.h"
#include "include/kiln_in_flight.h"

/* Written by the thread itself, and for threads that were there before by a program that runs over all tasks before calls are seen. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kiln_in_flight);
} in_flight SEC(".maps");

#define TS_COMPAT 2
#define X32_SYSCALL_BIT 0x40000000
#define ENOSYS 38

#define PF_NO_CALLS (0x00200000 | 0x4000 | 0x10) /* PF_KTHREAD, PF_USER_WORKER, PF_IO_WORKER: tasks that make no system calls */

enum {
	NR_rt_sigreturn = 15,
	NR_clone = 56,
	NR_fork = 57,
	NR_vfork = 58,
	NR_execve = 59,
	NR_prctl = 157,
	NR_execveat = 322,
	NR_clone3 = 435
};
enum { NR_execve_32_BIT = 11, NR_execveat_32_BIT = 358, NR_fork_32_BIT = 2, NR_clone_32_BIT = 120, NR_vfork_32_BIT = 190 };
enum { NR_execve_X32 = 520, NR_execveat_X32 = 545 };

/* KILN_CALL() of a number that a task has given to the kernel. */
static __always_inline __u32 numbered_call(const struct task_struct *task, long given)
{
	__u32 number = given, abi = KILN_ABI_NATIVE;

	if (task->thread_info.status & TS_COMPAT) {
		abi = KILN_ABI_32_BIT;
	} else if ((__s32)number >= X32_SYSCALL_BIT) { /* -1 has the bit, too */
		abi = KILN_ABI_X32;
		number -= X32_SYSCALL_BIT;
	}
	if (number > KILN_NO_SUCH_NUMBER)
		number = KILN_NO_SUCH_NUMBER;
	return KILN_CALL(abi, number);
}

/* The same of a call whose entry was not seen. rt_sigreturn leaves -1; a program that gives that as a number gets ENOSYS. */
static __always_inline __u32 call_in(const struct task_struct *task, const struct pt_regs *regs, long returned)
{
	long given = regs->orig_ax;

	return given == -1 && returned != -ENOSYS ? KILN_CALL(KILN_ABI_NATIVE, NR_rt_sigreturn) : numbered_call(task, given);
}

static __always_inline bool is_exec(__u32 call)
{
	return call == NR_execve || call == NR_execveat || call == KILN_CALL(KILN_ABI_32_BIT, NR_execve_32_BIT) ||
		call == KILN_CALL(KILN_ABI_32_BIT, NR_execveat_32_BIT) || call == KILN_CALL(KILN_ABI_X32, NR_execve_X32) ||
		call == KILN_CALL(KILN_ABI_X32, NR_execveat_X32);
}

/* Each also returns in the child, with 0. */
static __always_inline bool is_fork(__u32 call)
{
	return call == NR_clone || call == NR_fork || call == NR_vfork || call == NR_clone3 ||
		call == KILN_CALL(KILN_ABI_32_BIT, NR_fork_32_BIT) || call == KILN_CALL(KILN_ABI_32_BIT, NR_clone_32_BIT) ||
		call == KILN_CALL(KILN_ABI_32_BIT, NR_vfork_32_BIT) || call == KILN_CALL(KILN_ABI_32_BIT, NR_clone3);
}

/* Whether a call was interrupted by a signal: it is made again, or returns EINTR to the program. ERESTARTSYS to ERESTART_RESTARTBLOCK. */
static __always_inline bool is_interrupted(long returned)
{
	return returned >= -516 && returned <= -512 && returned != -515; /* ENOIOCTLCMD */
}

#define SIGNAL(number) (1UL << ((number)-1))
#define SIGKILL_BIT SIGNAL(9)

/* Whether a signal ends the thread before its call returns to the program. A fatal signal without core dump shows as SIGKILL pending in each thread; a
 * dumping signal ends the process only if its handler is SIG_DFL. */
static __always_inline bool is_ended_by_signal(struct task_struct *task)
{
	__u64 dumping = SIGNAL(3) | SIGNAL(4) | SIGNAL(5) | SIGNAL(6) | SIGNAL(7) | SIGNAL(8) | SIGNAL(11) | SIGNAL(24) | SIGNAL(25) |
		SIGNAL(31);
	__u64 pending = BPF_CORE_READ(task, pending.signal.sig[0]), actions, handler;
	__u32 size = bpf_core_type_size(struct k_sigaction), i;

	if (pending & SIGKILL_BIT)
		return true;
	pending = (pending | BPF_CORE_READ(task, signal, shared_pending.signal.sig[0])) & ~BPF_CORE_READ(task, blocked.sig[0]) & dumping;
	if (!pending)
		return false;
	actions = (__u64)BPF_CORE_READ(task, sighand) + bpf_core_field_offset(struct sighand_struct, action);
	for (i = 0; i < 31; i++) {
		if (!(pending >> i & 1))
			continue;
		if (!bpf_probe_read_kernel(&handler, sizeof handler, (void *)(actions + i * size)) &&
			!handler) /* the first field is the handler */
			return true;
	}
	return false;
}

/* NULL: the thread has made no call that was followed. */
static __always_inline struct kiln_in_flight *flight_of(struct task_struct *task)
{
	return bpf_task_storage_get(&in_flight, task, NULL, 0);
}

/* NULL: no memory. */
static __always_inline struct kiln_in_flight *follow_calls(struct task_struct *task)
{
	return bpf_task_storage_get(&in_flight, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline void begin_call(struct kiln_in_flight *flight, __u32 call, __u8 state)
{
	flight->call = call;
	flight->state = state;
	flight->is_counted = 0;
	flight->entered_ns = bpf_ktime_get_ns();
}

#endif
