/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which threads of the processes that a session watches are recorded: by tid, name, control group and user. The counts are constants when
 * the verifier runs, so that filters which are not asked for cost nothing. */
#ifndef KILN_FILTER_BPF_H
#define KILN_FILTER_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"

const volatile struct kiln_filter filter SEC(".rodata.filter");

/* Control groups of version 2, by their place on the command line. Written by user space before anything is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, KILN_FILTER_CGROUPS);
	__type(key, __u32);
	__type(value, __u32);
} cgroups SEC(".maps");

static __always_inline bool has_tid(__u32 tid)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_FILTER_TIDS; i++) {
		if (i >= filter.tid_count)
			break;
		if (filter.tids[i] == tid)
			return true;
	}
	return false;
}

static __always_inline bool has_user(__u32 user)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_FILTER_USERS; i++) {
		if (i >= filter.user_count)
			break;
		if (filter.users[i] == user)
			return true;
	}
	return false;
}

static __always_inline bool has_name(const __u64 *name)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_FILTER_COMMS; i++) {
		if (i >= filter.comm_count)
			break;
		if (filter.comms[i][0] == name[0] && filter.comms[i][1] == name[1])
			return true;
	}
	return false;
}

/* What stands behind the end of a name is not cleared by each kernel. */
static __always_inline void clear_behind_end(__u64 *name)
{
	char *bytes = (char *)name;
	bool ended = false;
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_COMM_BYTES; i++) {
		ended = ended || !bytes[i];
		if (ended)
			bytes[i] = 0;
	}
}

/* Of the thread, or of its process. */
static __always_inline bool has_wanted_name(struct task_struct *task)
{
	__u64 name[KILN_COMM_BYTES / 8] = {};

	bpf_core_read(name, sizeof name, &task->comm);
	clear_behind_end(name);
	if (has_name(name))
		return true;
	bpf_core_read(name, sizeof name, &task->group_leader->comm);
	clear_behind_end(name);
	return has_name(name);
}

static __always_inline bool is_in_wanted_cgroup(void)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_FILTER_CGROUPS; i++) {
		if (i >= filter.cgroup_count)
			break;
		if (bpf_current_task_under_cgroup(&cgroups, i) == 1)
			return true;
	}
	return false;
}

/* Whether the current task is one of those that are asked for. */
static __always_inline bool passes_filter(struct task_struct *task)
{
	if (filter.tid_count && !has_tid(task->pid))
		return false;
	if (filter.user_count && !has_user((__u32)bpf_get_current_uid_gid()))
		return false;
	if (filter.comm_count && !has_wanted_name(task))
		return false;
	return !filter.cgroup_count || is_in_wanted_cgroup();
}

#endif
