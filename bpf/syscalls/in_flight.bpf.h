/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls in flight, by thread: when each began and which it is. The number is that of the entry, because rt_sigreturn leaves none, and its
 * arguments still lie in the saved registers when it returns.
 *
 * Kept in the storage of the task, not by tid: an exec by a thread that is not the leader changes its tid, there is no capacity, and entries go with
 * their tasks. */
#ifndef KILN_IN_FLIGHT_BPF_H
#define KILN_IN_FLIGHT_BPF_H

#include "common/bpf.h"
#include "common/system_calls.bpf.h"
#include "include/kiln_call_numbers.h"

enum flight_state {
	FLIGHT_NONE,    /* what returns now has no entry: seccomp or a tracer skipped the call, or it made its thread a member */
	FLIGHT_ENTERED, /* the entry was seen */
	FLIGHT_EARLIER, /* the thread was there before the session; what it returns from first began before, too */
	FLIGHT_OUTSIDE, /* entered by a thread that was none of the session's: an exec may make it one */
};

#define FLIGHT_ROWS 8 /* a power of two */

/* What is kept with each thread of the session. */
struct call_in_flight {
	__u64 entered_ns;
	__u32 call;      /* KILN_CALL() of the call in flight, or of the last one */
	__u8 state;      /* enum flight_state */
	__u8 is_member;  /* the thread has been found to be the session's */
	__u8 is_counted; /* the last call was counted, and its stack is to be taken */
	__u8 reserved;
	__u64 took_ns; /* of that call: its time in the session */
	struct {
		__u32 call; /* plus 1; 0: none */
		__u32 row;  /* where it is counted */
	} rows[FLIGHT_ROWS];
};

/* Written by the thread itself, and for threads that were there before by a program that runs over all tasks before calls are seen. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_in_flight);
} in_flight SEC(".maps");

#define ENOSYS 38

#define PF_NO_CALLS (0x00200000 | 0x4000 | 0x10) /* PF_KTHREAD, PF_USER_WORKER, PF_IO_WORKER: tasks that make no system calls */

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

/* The same of a call that began before the session. rt_sigreturn leaves -1; a program that gives that as a number gets ENOSYS. */
static __always_inline __u32 call_in(const struct task_struct *task, const struct pt_regs *regs, long returned)
{
	long given = regs->orig_ax;

	return given == -1 && returned != -ENOSYS ? KILN_CALL(KILN_ABI_NATIVE, NR_rt_sigreturn) : numbered_call(task, given);
}

static __always_inline bool is_exec(__u32 call)
{
	__u32 number = KILN_CALL_NUMBER(call);

	switch (KILN_CALL_ABI(call)) {
	case KILN_ABI_NATIVE:
		return number == NR_execve || number == NR_execveat;
	case KILN_ABI_32_BIT:
		return number == NR_execve_32_BIT || number == NR_execveat_32_BIT;
	default:
		return number == NR_execve_X32 || number == NR_execveat_X32;
	}
}

/* Each also returns in the child, with 0. */
static __always_inline bool is_fork(__u32 call)
{
	__u32 number = KILN_CALL_NUMBER(call);

	if (KILN_CALL_ABI(call) == KILN_ABI_32_BIT)
		return number == NR_clone_32_BIT || number == NR_fork_32_BIT || number == NR_vfork_32_BIT || number == NR_clone3;
	return number == NR_clone || number == NR_fork || number == NR_vfork || number == NR_clone3;
}

static __always_inline bool is_prctl(__u32 call)
{
	return KILN_CALL_NUMBER(call) == (KILN_CALL_ABI(call) == KILN_ABI_32_BIT ? NR_prctl_32_BIT : NR_prctl);
}

/* Whether a call was interrupted by a signal: it is made again, or returns EINTR to the program. ERESTARTSYS to ERESTART_RESTARTBLOCK. */
static __always_inline bool is_interrupted(long returned)
{
	return returned >= -516 && returned <= -512 && returned != -515; /* ENOIOCTLCMD */
}

/* Whether a call returns an errno to the program. */
static __always_inline bool has_failed(long returned)
{
	return is_errno(returned) && !is_interrupted(returned);
}

/* What is checked is what is used. */
static __always_inline bool is_chosen(const volatile struct kiln_chosen_calls *calls, __u32 call)
{
	__u32 abi = KILN_CALL_ABI(call), number = KILN_CALL_NUMBER(call);

	if (!calls->chooses)
		return true;
	barrier_var(abi);
	barrier_var(number);
	if (abi >= KILN_ABI_COUNT || number >= KILN_ABI_NUMBERS)
		return false;
	return calls->bits[abi][number / 64] >> (number & 63) & 1;
}

/* Whether a task is kiln, which sees none of its own calls. */
static __always_inline bool is_own(const volatile struct kiln_chosen_calls *calls, const struct task_struct *task)
{
	return (__u32)task->tgid == calls->own_tgid;
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
static __always_inline struct call_in_flight *flight_of(struct task_struct *task)
{
	return bpf_task_storage_get(&in_flight, task, NULL, 0);
}

/* NULL: no memory. */
static __always_inline struct call_in_flight *follow_calls(struct task_struct *task)
{
	return bpf_task_storage_get(&in_flight, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline void begin_call(struct call_in_flight *flight, __u32 call, __u8 state)
{
	flight->call = call;
	flight->state = state;
	flight->entered_ns = bpf_ktime_get_ns();
}

#endif
