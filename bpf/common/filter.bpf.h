/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which threads of the processes that a session watches are observed: by tid, name, control group and user. The counts are constants when
 * the verifier runs, so that filters which are not asked for cost nothing. */
#ifndef KILN_FILTER_BPF_H
#define KILN_FILTER_BPF_H

#include "common/bpf.h"
#include "include/kiln_members.h"

const volatile struct kiln_filter filter SEC(".rodata.filter");

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

static __always_inline bool is_wanted_cgroup(__u64 id)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < KILN_FILTER_CGROUPS; i++) {
		if (i >= filter.cgroup_count)
			break;
		if (filter.cgroups[i] == id)
			return true;
	}
	return false;
}

/* The task's control group of version 2, or one above it. */
static __always_inline bool is_in_wanted_cgroup(struct task_struct *task)
{
	struct cgroup *group = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	__u32 level;

	for (level = 0; level < KILN_CGROUP_LEVELS && group; level++) {
		if (is_wanted_cgroup(BPF_CORE_READ(group, kn, id)))
			return true;
		group = BPF_CORE_READ(group, self.parent, cgroup);
	}
	return false;
}

/* Whether a task is one of those that are asked for. */
static __always_inline bool passes_filter(struct task_struct *task)
{
	if (filter.tid_count && !has_tid(task->pid))
		return false;
	if (filter.user_count && !has_user(BPF_CORE_READ(task, cred, uid.val)))
		return false;
	if (filter.comm_count && !has_wanted_name(task))
		return false;
	return !filter.cgroup_count || is_in_wanted_cgroup(task);
}

#endif
