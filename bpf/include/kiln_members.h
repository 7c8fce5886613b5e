/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which tasks are a session's members: user space fills this in before loading. Beside it, kiln_targets.h lists the targets. */
#ifndef KILN_MEMBERS_H
#define KILN_MEMBERS_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_COMM_BYTES 16              /* a thread's name, as the kernel keeps it (TASK_COMM_LEN) */
#define KILN_DESCENDANTS_CAPACITY 65536 /* descendants of the listed processes that live at a time */
#define KILN_NO_FAMILY 0xffffffffU      /* neither a target nor a descendant of one */

/* The loss of a descendant, for the losses of each object that follows them. `symbol` is the object's own. */
#define KILN_DESCENDANT_LOSS(X, symbol) \
	X(symbol, "descendants_map_full", \
		"processes that descend from the targets and were not followed: more than 65,536 lived at a time; each kind of probe counts them")

struct kiln_members {
	__u32 everything; /* all processes; otherwise the listed ones and what descends from them */
	__u32 reserved;
	__u64 command_stack; /* not 0: the target whose stack begins there is still kiln's child, before it executes the command */
};

/* Which threads of these processes a session observes. Options of different kinds narrow each other. */
#define KILN_FILTER_TIDS 16
#define KILN_FILTER_COMMS 8
#define KILN_FILTER_USERS 8
#define KILN_FILTER_CGROUPS 8
#define KILN_CGROUP_LEVELS 16 /* above the task's group, as far as is looked */

struct kiln_filter {
	__u32 tid_count; /* 0: any */
	__u32 comm_count;
	__u32 user_count;
	__u32 cgroup_count;
	__u32 tids[KILN_FILTER_TIDS];
	__u32 users[KILN_FILTER_USERS];                      /* real user ids of the initial user namespace */
	__u64 comms[KILN_FILTER_COMMS][KILN_COMM_BYTES / 8]; /* of the thread or of its process, padded with zeros */
	__u64 cgroups[KILN_FILTER_CGROUPS];                  /* ids: the inode numbers of their directories */
};

#pragma clang diagnostic pop

#endif
