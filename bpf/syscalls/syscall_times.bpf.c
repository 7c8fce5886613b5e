/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls with their times, by caller and call: a histogram of each, errors by errno, and calls that were in flight when the session began or
 * ended, never returned, or have no entry.
 *
 * Each call is counted once: where it returns, where its thread ends in it, or by the program that runs over all tasks when the session ends. A call's
 * time runs from sys_enter to sys_exit, without kernel entry and exit.
 *
 * A call without an entry has no time: seccomp or a tracer skipped it, or it made its thread a member. An exec that does so has one. */
#include "common/bpf.h"
#include "include/kiln_syscall_times.h"
#include "requests/turns.bpf.h"
#define LOSS_COUNT KILN_SYSCALL_TIME_LOSS_COUNT
#define LOST_DESCENDANT KILN_LOST_CALL_DESCENDANTS_MAP_FULL
#include "common/losses.bpf.h"
#include "common/members.bpf.h"
#include "syscalls/earlier_calls.bpf.h"
#include "syscalls/in_flight.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EAGAIN 11

const volatile struct kiln_syscall_options options SEC(".rodata.options");

struct kiln_syscall_session session;

/* Key: struct kiln_syscall_key; value: its row in `syscall_times`. Written at the first call of each. Nearly full: callers share rows; full:
 * calls_without_row. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_SYSCALL_ROWS);
	__type(key, struct kiln_syscall_key);
	__type(value, __u32);
} syscall_rows SEC(".maps");

/* Key: row; one value for each CPU. User space reads it, and shrinks it and `syscall_rows` where CPUs are many. Never cleared. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_SYSCALL_ROWS);
	__type(key, __u32);
	__type(value, struct kiln_syscall_times);
} syscall_times SEC(".maps");

/* Key: struct kiln_caller, of callers with a row. No memory: callers_without_name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KILN_SYSCALL_ROWS);
	__type(key, struct kiln_caller);
	__type(value, struct kiln_caller_name);
} syscall_callers SEC(".maps");

/* Key: struct kiln_errno_key; value: how often. Full: errnos_without_row. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KILN_SYSCALL_ERRNOS);
	__type(key, struct kiln_errno_key);
	__type(value, __u64);
} syscall_errnos SEC(".maps");

/* ---- whose call, and whether it is asked for ---- */

/* Filters by what a thread can change. */
static __always_inline bool membership_changes(void)
{
	return filter.comm_count || filter.user_count || filter.cgroup_count;
}

/* What is kept with a task that is a member, or may be one when its exec returns. NULL: neither. */
static __always_inline struct call_in_flight *flight_of_member(struct task_struct *task, __u32 call, __u8 *state)
{
	struct call_in_flight *flight = flight_of(task);
	struct membership member;

	*state = FLIGHT_ENTERED;
	if (flight && flight->is_member && !membership_changes())
		return flight;
	if (is_own(&options.calls, task) || !find_family(&member, task))
		return NULL;
	if (has_not_begun(&member, task) || !passes_filter(task)) {
		if (!is_exec(call)) {
			if (flight)
				flight->state = FLIGHT_NONE;
			return NULL;
		}
		*state = FLIGHT_OUTSIDE;
	}
	if (!flight) {
		flight = follow_calls(task);
		if (!flight)
			lose(KILN_LOST_CALLS_NOT_FOLLOWED, 1);
	}
	if (flight)
		flight->is_member = *state == FLIGHT_ENTERED;
	return flight;
}

/* ---- rows ---- */

static __always_inline void take_name(__u64 *name, const void *comm)
{
	name[0] = name[1] = 0;
	bpf_probe_read_kernel_str(name, KILN_COMM_BYTES, comm);
}

static __always_inline void identify_caller(struct kiln_caller *caller, struct task_struct *task)
{
	switch (options.callers) {
	case KILN_CALLERS_THREADS:
		caller->who[0] = task->pid;
		caller->who[1] = task->start_boottime;
		break;
	case KILN_CALLERS_COMMS:
		take_name(caller->who, task->group_leader->comm);
		break;
	case KILN_CALLERS_CGROUPS:
		caller->who[0] = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
		caller->who[1] = 0;
		break;
	default:
		caller->who[0] = task->tgid;
		caller->who[1] = task->group_leader->start_boottime;
	}
}

static __always_inline void name_caller(const struct kiln_caller *caller, struct task_struct *task)
{
	struct kiln_caller_name name = { .tgid = task->tgid, .tid = task->pid };

	take_name(name.comm, task->group_leader->comm);
	take_name(name.thread, task->comm);
	if (bpf_map_update_elem(&syscall_callers, caller, &name, BPF_ANY))
		lose(KILN_LOST_CALLERS_WITHOUT_NAME, 1);
}

/* Of a caller with a row. */
static __always_inline void rename_caller(struct task_struct *task)
{
	struct kiln_caller caller;

	identify_caller(&caller, task);
	if (bpf_map_lookup_elem(&syscall_callers, &caller))
		name_caller(&caller, task);
}

/* The row of this key, which is given one if fewer than `most` have been; KILN_SYSCALL_ROWS: there is none. */
static __always_inline __u32 row_of(const struct kiln_syscall_key *key, struct task_struct *task, __u32 most)
{
	__u32 *known = bpf_map_lookup_elem(&syscall_rows, key), row;

	if (known)
		return *known;
	if (session.rows_given >= most)
		return KILN_SYSCALL_ROWS;
	row = __sync_fetch_and_add(&session.rows_given, 1);
	if (row >= options.rows)
		return KILN_SYSCALL_ROWS;
	if (!bpf_map_update_elem(&syscall_rows, key, &row, BPF_NOEXIST)) {
		if (!key->others)
			name_caller(&key->caller, task);
		return row;
	}
	known = bpf_map_lookup_elem(&syscall_rows, key); /* another CPU was first, and the row stays empty */
	return known ? *known : KILN_SYSCALL_ROWS;
}

/* The row of a caller's call, or of those of other callers; KILN_SYSCALL_ROWS: there is none. */
static __always_inline __u32 find_row(struct task_struct *task, __u32 call)
{
	struct kiln_syscall_key key = { .call = call };
	__u32 row;

	identify_caller(&key.caller, task);
	row = row_of(&key, task, options.caller_rows);
	if (row != KILN_SYSCALL_ROWS)
		return row;
	key.others = 1;
	if (options.callers <= KILN_CALLERS_THREADS) {
		take_name(key.caller.who, task->group_leader->comm);
		row = row_of(&key, task, options.name_rows);
		if (row != KILN_SYSCALL_ROWS)
			return row;
	}
	key.caller.who[0] = key.caller.who[1] = 0;
	if (KILN_CALL_NUMBER(call) >= KILN_ABI_NUMBERS)
		key.call = KILN_CALL(KILN_CALL_ABI(call), KILN_NO_SUCH_NUMBER);
	return row_of(&key, task, options.rows);
}

/* The rows of a thread's calls don't change, where it is counted by process or thread. */
static __always_inline struct kiln_syscall_times *times_of(struct call_in_flight *flight, struct task_struct *task, __u32 call, __u32 *row)
{
	__u32 place = call * 0x9E3779B1u >> 29 & (FLIGHT_ROWS - 1);
	struct kiln_syscall_times *times;

	if (options.callers <= KILN_CALLERS_THREADS && flight->rows[place].call == call + 1) {
		*row = flight->rows[place].row;
	} else {
		*row = find_row(task, call);
		flight->rows[place].call = call + 1;
		flight->rows[place].row = *row;
	}
	times = bpf_map_lookup_elem(&syscall_times, row);
	if (!times)
		lose(KILN_LOST_CALLS_WITHOUT_ROW, 1);
	return times;
}

/* ---- counting ---- */

static __always_inline void count_errno(struct kiln_syscall_times *times, __u32 row, __u32 number)
{
	struct kiln_errno_key key = { .row = row, .number = number };
	__u64 one = 1, *count;

	times->errors++;
	if (number == EAGAIN) {
		times->again++;
		return;
	}
	count = bpf_map_lookup_elem(&syscall_errnos, &key);
	if (!count && bpf_map_update_elem(&syscall_errnos, &key, &one, BPF_NOEXIST)) {
		count = bpf_map_lookup_elem(&syscall_errnos, &key); /* another CPU was first */
		if (!count)
			lose(KILN_LOST_ERRNOS_WITHOUT_ROW, 1);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* A call has returned. `took`: its time in the session; `seen`: whether its entry was (enum flight_state). */
static __always_inline void count_return(
	struct call_in_flight *flight, struct task_struct *task, __u32 call, __u64 took, __u8 seen, long returned)
{
	bool failed = has_failed(returned);
	struct kiln_syscall_times *times;
	__u32 row, slot;

	if (took < options.slower_than_ns || (options.failed && !failed))
		return;
	times = times_of(flight, task, call, &row);
	if (!times)
		return;
	if (seen == FLIGHT_NONE) {
		times->without_entry++;
	} else if (seen == FLIGHT_EARLIER) {
		times->earlier++;
		times->earlier_ns += took;
	} else {
		slot = kiln_histogram_slot(took);
		barrier_var(slot); /* Linux 6.1 takes a copy for unbounded otherwise */
		if (slot <= KILN_HISTOGRAM_OVERFLOW_SLOT)
			times->slots[slot]++;
		times->latency.sum_ns += took;
		if (took > times->latency.max_ns)
			times->latency.max_ns = took;
	}
	if (failed)
		count_errno(times, row, -returned);
	else if (is_interrupted(returned))
		times->interrupted++;
	flight->call = call;
	flight->took_ns = took;
	flight->is_counted = 1;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_enters, struct pt_regs *regs, long given)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 call = numbered_call(task, given);
	struct call_in_flight *flight;
	__u8 state;

	if (session.ended)
		return 0;
	flight = flight_of_member(task, call, &state);
	if (!flight)
		return 0;
	if (is_chosen(&options.calls, call) || is_exec(call))
		begin_call(flight, call, state);
	else
		flight->state = FLIGHT_NONE;
	return 0;
}

/* After an exec, or a renaming. */
static __always_inline void see_new_name(struct call_in_flight *flight, struct task_struct *task, __u32 call)
{
	__u32 i;

	if (!is_prctl(call) && !is_exec(call))
		return;
	for (i = 0; i < FLIGHT_ROWS; i++)
		flight->rows[i].call = 0; /* the thread may have another tid now, and another row of its name */
	if (options.callers <= KILN_CALLERS_THREADS)
		rename_caller(task);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_returns, struct pt_regs *regs, long returned)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_in_flight *flight = flight_of(task);
	__u64 began = session.began_ns, entered = 0, now = 0;
	struct membership member;
	__u8 state = FLIGHT_NONE;
	__u32 call;
	int process;

	if (options.follows_turns) {
		process = target_index(task->tgid);
		if (process >= 0 && !(task->thread_info.status & TS_COMPAT))
			note_turn(task, process, regs);
	}
	if (flight)
		flight->is_counted = 0; /* otherwise the stack of the last call that was counted could be taken here */
	if (session.ended)
		return 0;
	if (flight) {
		state = flight->state;
		flight->state = FLIGHT_NONE;
	}
	if (state != FLIGHT_NONE)
		now = bpf_ktime_get_ns();
	if (!began)
		return 0;
	if (flight && (state == FLIGHT_ENTERED || state == FLIGHT_OUTSIDE)) {
		if (state == FLIGHT_OUTSIDE && !find_membership(&member, task))
			return 0;
		flight->is_member = 1;
		entered = flight->entered_ns;
		call = flight->call;
	} else {
		call = state == FLIGHT_EARLIER ? call_in(task, regs, returned) : numbered_call(task, regs->orig_ax);
		if (is_fork(call) && !returned)
			return 0;
	}
	if (flight && !returned)
		see_new_name(flight, task, call);
	if (!is_chosen(&options.calls, call))
		return 0;
	if (state == FLIGHT_NONE) {
		if (is_own(&options.calls, task) || !find_membership(&member, task))
			return 0;
		flight = follow_calls(task);
		if (!flight) {
			lose(KILN_LOST_CALLS_NOT_FOLLOWED, 1);
			return 0;
		}
		flight->is_member = 1;
		count_return(flight, task, call, 0, FLIGHT_NONE, returned);
		return 0;
	}
	if (!flight)
		return 0;
	if (is_interrupted(returned) && is_ended_by_signal(task)) {
		flight->call = call;
		flight->entered_ns = entered;
		flight->state = FLIGHT_ENTERED; /* its thread's end counts it */
		return 0;
	}
	count_return(flight, task, call, now - (entered > began ? entered : began), entered <= began ? FLIGHT_EARLIER : FLIGHT_ENTERED,
		returned);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(caller_exits)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_in_flight *flight = flight_of(task);
	struct kiln_syscall_times *times;
	__u64 began = session.began_ns, took;
	__u32 row;

	if (!flight || flight->state != FLIGHT_ENTERED || !began || session.ended || options.failed)
		return 0;
	flight->state = FLIGHT_NONE;
	took = bpf_ktime_get_ns() - (flight->entered_ns > began ? flight->entered_ns : began);
	if (!is_chosen(&options.calls, flight->call) || took < options.slower_than_ns)
		return 0;
	times = times_of(flight, task, flight->call, &row);
	if (!times)
		return 0;
	/* At once: the thread can be preempted here, where no tracepoint of calls keeps it on its CPU. */
	__sync_fetch_and_add(&times->unreturned, 1);
	__sync_fetch_and_add(&times->unreturned_ns, took);
	return 0;
}

/* ---- calls in flight when the session begins and ends: run over all tasks of the host ---- */

/* Before calls are seen. */
SEC("iter/task")
int note_earlier_calls(struct bpf_iter__task *context)
{
	note_earlier_call(context->task, &options.calls, KILN_LOST_CALLS_NOT_FOLLOWED);
	return 0;
}

/* Whether a thread that has made no call in the session is inside of one: asleep, or preempted, with a number that no exception leaves. */
static __always_inline bool is_inside_call(struct task_struct *task, const struct pt_regs *regs)
{
	return !task->on_cpu && (long)regs->orig_ax >= 0;
}

/* When nothing is counted any more. */
SEC("iter/task")
int count_calls_in_flight(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	__u64 began = session.began_ns, ended = session.ended, entered, took;
	struct kiln_syscall_times *times;
	struct call_in_flight *flight;
	const struct pt_regs *regs;
	__u32 call, row;

	if (!task || !began || !ended)
		return 0;
	flight = flight_of(task);
	if (!flight || (flight->state != FLIGHT_ENTERED && flight->state != FLIGHT_EARLIER))
		return 0;
	entered = flight->entered_ns;
	call = flight->call;
	if (flight->state == FLIGHT_EARLIER) {
		regs = (const struct pt_regs *)bpf_task_pt_regs(task);
		if (!is_inside_call(task, regs))
			return 0;
		entered = began;
		call = call_in(task, regs, 0);
	}
	took = ended - (entered > began ? entered : began);
	if (entered > ended || !is_chosen(&options.calls, call) || took < options.slower_than_ns || options.failed)
		return 0;
	times = times_of(flight, task, call, &row);
	if (!times)
		return 0;
	__sync_fetch_and_add(&times->in_flight, 1);
	__sync_fetch_and_add(&times->in_flight_ns, took);
	return 0;
}
