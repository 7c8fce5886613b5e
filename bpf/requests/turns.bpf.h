/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Turns of a process's event loop: a turn begins when the main thread returns from waiting for events. A server answers a command in the
 * turn in which it executes it, so a reply that leaves in a later turn was not produced by what ran right after the read.
 *
 * Written by programs at the end of system calls, read by those at the sockets. */
#ifndef KILN_TURNS_BPF_H
#define KILN_TURNS_BPF_H

#include "common/bpf.h"
#include "include/kiln_turns.h"

/* Key: process; value: struct kiln_turn. One map for all objects of a session: user space makes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_MAX_TARGETS);
	__type(key, __u32);
	__type(value, struct kiln_turn);
} turns SEC(".maps");

/* Whether a system call of x86-64 waits for events. */
static __always_inline bool waits_for_events(long number)
{
	enum {
		NR_poll = 7,
		NR_select = 23,
		NR_epoll_wait = 232,
		NR_pselect6 = 270,
		NR_ppoll = 271,
		NR_epoll_pwait = 281,
		NR_io_uring_enter = 426,
		NR_epoll_pwait2 = 441,
	};

	switch (number) {
	case NR_epoll_wait:
	case NR_epoll_pwait:
	case NR_epoll_pwait2:
	case NR_poll:
	case NR_ppoll:
	case NR_select:
	case NR_pselect6:
	case NR_io_uring_enter:
		return true;
	}
	return false;
}

/* A command that takes long may serve others meanwhile (a script past busy-reply-threshold, loading): it runs an event loop of its own, deeper in the
 * stack. A session that begins inside of such a loop takes it for the outermost one until it ends. */
static __always_inline bool in_inner_loop(const struct kiln_turn *turn)
{
	return turn && turn->stack < turn->top;
}

/* A system call of `task` has returned. */
static __always_inline void note_turn(const struct task_struct *task, __u32 process, const struct pt_regs *regs)
{
	long number = regs->orig_ax;
	__u64 stack = regs->sp;
	struct kiln_turn *turn;

	if (!waits_for_events(number) || task->pid != task->tgid)
		return;
	turn = bpf_map_lookup_elem(&turns, &process);
	if (!turn)
		return;
	turn->stack = stack;
	if (stack > turn->top)
		turn->top = stack;
	turn->began_ns = bpf_ktime_get_ns();
}

#endif
