/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which tasks are a session's members: those of the targets and of what descends from them, or of everything; of these, those that the filter
 * lets through.
 *
 * Define LOST_DESCENDANT before: the loss of a descendant for which there was no room. */
#ifndef KILN_MEMBERS_BPF_H
#define KILN_MEMBERS_BPF_H

#include "common/bpf.h"
#include "common/filter.bpf.h"
#include "common/losses.bpf.h"
#include "common/targets.bpf.h"
#include "include/kiln_members.h"

const volatile struct kiln_members members SEC(".rodata.members");

/* Key: tgid; value: the listed process it descends from. Written at forks, cleared when the process is gone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KILN_DESCENDANTS_CAPACITY);
	__type(key, __u32);
	__type(value, __u32);
} descendants SEC(".maps");

/* How a task belongs to the session. */
struct membership {
	int listed;   /* its process's index among the targets, or -1 */
	__u32 family; /* the target that it is or descends from, or KILN_NO_FAMILY; 0 where everything is observed */
};

/* Whether a task's process is one of the session's. */
static __always_inline bool find_family(struct membership *member, struct task_struct *task)
{
	__u32 tgid = task->tgid, *family;

	member->listed = target_index(tgid);
	member->family = member->listed >= 0 ? member->listed : 0;
	if (member->listed >= 0 || members.everything)
		return true;
	family = bpf_map_lookup_elem(&descendants, &tgid);
	member->family = family ? *family : KILN_NO_FAMILY;
	return family;
}

/* A child of kiln has kiln's memory until it executes the command. */
static __always_inline bool has_not_begun(const struct membership *member, struct task_struct *task)
{
	return members.command_stack && member->listed >= 0 && BPF_CORE_READ(task, mm, start_stack) == members.command_stack;
}

/* Whether a task is one of the session's. */
static __always_inline bool find_membership(struct membership *member, struct task_struct *task)
{
	return find_family(member, task) && !has_not_begun(member, task) && passes_filter(task);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(member_forked, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, tgid = child->tgid, family, *known;
	int listed = target_index(from);

	if (from == tgid) /* a thread */
		return 0;
	family = listed;
	if (listed < 0) {
		known = bpf_map_lookup_elem(&descendants, &from);
		if (!known)
			return 0;
		family = *known;
	}
	if (bpf_map_update_elem(&descendants, &tgid, &family, BPF_ANY))
		lose(LOST_DESCENDANT, 1);
	return 0;
}

/* The leader goes last. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(member_freed, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	if (task->pid == task->tgid)
		bpf_map_delete_elem(&descendants, &tgid);
	return 0;
}

#endif
