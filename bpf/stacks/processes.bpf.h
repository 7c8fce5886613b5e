/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which process a sample belongs to: a listed one, a descendant of one, or any.
 *
 * A process that is not listed is what it is from one exec to the next: the program executed then has other code, and another
 * number. It gets the number when it is first sampled, so that the many that come and go unsampled cost nothing. */
#ifndef KILN_PROCESSES_BPF_H
#define KILN_PROCESSES_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"
#include "stacks/losses.bpf.h" /* before members.bpf.h, which counts them */
#include "common/members.bpf.h"

const volatile struct kiln_stack_options options SEC(".rodata.options");

struct execution {
	__u64 started_ns; /* of the process, since boot */
	__u64 exec_id;
	__u32 tgid;
	__u32 reserved;
};

struct process {
	__u32 number;
	__u32 origin; /* as in struct kiln_stack */
};

/* Preallocated: written in the timer's interrupt. An entry goes with its process, its number is not given again. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_PROCESSES_CAPACITY);
	__type(key, struct execution);
	__type(value, struct process);
} processes SEC(".maps");

/* Numbers (__u64) of processes that have ended: user space frees what it holds for them. Full: it keeps that. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_ENDED_RING_BYTES);
} ended_processes SEC(".maps");

__u32 numbers_given;

static __always_inline struct execution execution_of(struct task_struct *leader, __u64 exec_id)
{
	return (struct execution){
		.started_ns = BPF_CORE_READ(leader, start_boottime),
		.exec_id = exec_id,
		.tgid = BPF_CORE_READ(leader, tgid),
	};
}

/* The process whose code a task still runs: what forked it, unless it has executed a program since. */
static __always_inline __u32 origin_of(struct task_struct *leader, __u64 exec_id, __u32 itself)
{
	struct task_struct *parent = BPF_CORE_READ(leader, real_parent, group_leader);
	struct execution forked = execution_of(parent, exec_id);
	const struct process *known;
	int listed = target_index(forked.tgid);

	if (exec_id != BPF_CORE_READ(leader, parent_exec_id))
		return itself;
	if (listed >= 0)
		return listed;
	known = bpf_map_lookup_elem(&processes, &forked);
	return known ? known->origin : itself;
}

/* Number a process that was not sampled before; false: there is no room. */
static __always_inline bool number_process(const struct execution *execution, struct task_struct *leader, struct process *process)
{
	__u32 number = numbers_given + KILN_MAX_TARGETS;

	if (number < KILN_PROCESSES_CAPACITY)
		number = __sync_fetch_and_add(&numbers_given, 1) + KILN_MAX_TARGETS;
	if (number >= KILN_PROCESSES_CAPACITY)
		return false;
	process->number = number;
	process->origin = origin_of(leader, execution->exec_id, number);
	bpf_map_update_elem(&processes, execution, process, BPF_ANY); /* the second of two CPUs wins: two numbers, both known */
	return true;
}

/* Says which process a task is part of: its number, origin and family. False: no room. */
static __always_inline bool identify_process(struct kiln_stack *stack, struct task_struct *task, const struct membership *member)
{
	struct task_struct *leader = task->group_leader;
	struct process *known, process;
	struct execution execution;

	stack->family = member->family;
	stack->tgid = task->tgid;
	if (member->listed >= 0) {
		stack->key.process = stack->origin = member->listed;
		return true;
	}
	execution = execution_of(leader, task->self_exec_id);
	known = bpf_map_lookup_elem(&processes, &execution);
	if (known) {
		process = *known;
	} else if (!number_process(&execution, leader, &process)) {
		lose(KILN_LOST_PROCESSES_MAP_FULL, 1);
		return false;
	}
	stack->key.process = process.number;
	stack->origin = process.origin;
	return true;
}

/* Both for a stack of what runs or waits. False: none of the session's, or no room. */
static __always_inline bool find_process(struct kiln_stack *stack, struct task_struct *task)
{
	struct membership member;

	if (!task->tgid) /* nothing runs */
		return false;
	return find_membership(&member, task) && identify_process(stack, task, &member);
}

/* What only user space needs to know of the process. */
static __always_inline void describe_process(struct kiln_stack *stack, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	stack->start_stack = BPF_CORE_READ(task, mm, start_stack); /* 0: a thread of the kernel */
	bpf_core_read(stack->comm, sizeof stack->comm, &leader->comm);
}

/* The leader goes last. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(process_freed, struct task_struct *task)
{
	struct execution execution = execution_of(task, task->self_exec_id);
	struct process *known;
	__u64 number;

	if (task->pid != task->tgid)
		return 0;
	known = bpf_map_lookup_elem(&processes, &execution);
	if (!known)
		return 0;
	number = known->number;
	bpf_map_delete_elem(&processes, &execution);
	bpf_ringbuf_output(&ended_processes, &number, sizeof number, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
