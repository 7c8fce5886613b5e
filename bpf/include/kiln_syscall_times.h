/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of syscall_times.bpf.c. */
#ifndef KILN_SYSCALL_TIMES_H
#define KILN_SYSCALL_TIMES_H

#include "kiln_histogram.h"
#include "kiln_call_numbers.h"
#include "kiln_members.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* What calls are counted by, beside the call. */
enum kiln_syscall_callers {
	KILN_CALLERS_PROCESSES,
	KILN_CALLERS_THREADS,
	KILN_CALLERS_COMMS,   /* names of processes */
	KILN_CALLERS_CGROUPS, /* of version 2 */
};

/* What user space chooses before loading. */
struct kiln_syscall_options {
	__u64 slower_than_ns; /* only calls that take as long */
	__u32 callers;        /* enum kiln_syscall_callers */
	__u32 failed;         /* only calls that return an errno */
	__u32 follows_turns;  /* writes the beginnings of event loop turns */
	__u32 rows;           /* how many there are */
	__u32 caller_rows;    /* of these, those that callers may take; */
	__u32 name_rows;      /* those that callers and names may take: the rest is kept for calls */
	struct kiln_chosen_calls calls;
};

/* Variables that both sides use while programs run. */
struct kiln_syscall_session {
	__u64 began_ns;   /* 0: not yet. What returned before isn't counted. Written by user space, once */
	__u64 ended;      /* when nothing more was counted; 0: not yet. Likewise */
	__u32 rows_given; /* may exceed the number of rows */
	__u32 reserved;
};

/* Who makes calls: a tgid or tid with the start of that task, a name, or the id of a control group. */
struct kiln_caller {
	__u64 who[2];
};

/* Key of `syscall_rows`; the value is the row (__u32). */
struct kiln_syscall_key {
	struct kiln_caller caller;
	__u32 call;   /* KILN_CALL() */
	__u32 others; /* counts callers that have no row of their own: those of processes of this name, or with an empty name all */
};

/* Value of `syscall_callers`, by struct kiln_caller: as they were called when a first call, an exec or a renaming was last seen. */
struct kiln_caller_name {
	__u32 tgid;
	__u32 tid;
	__u64 comm[KILN_COMM_BYTES / 8];   /* of the process */
	__u64 thread[KILN_COMM_BYTES / 8]; /* of the thread */
};

/* Row of `syscall_times`; one copy for each possible CPU. A call is in one of the five: slots, earlier, without_entry, unreturned,
 * in_flight. */
struct kiln_syscall_times {
	__u64 slots[KILN_HISTOGRAM_SLOTS + 1]; /* of calls that began and returned in the session */
	struct kiln_latency_sum latency;
	__u64 earlier; /* returned in the session and began before; their time in it */
	__u64 earlier_ns;
	__u64 without_entry; /* returned in the session, and their entry was not seen: skipped by seccomp or a tracer, or made their thread a member */
	__u64 unreturned; /* the thread ended in the call: exit, exit_group, a signal */
	__u64 unreturned_ns;
	__u64 in_flight; /* had not returned when the session ended; their time in it */
	__u64 in_flight_ns;
	__u64 errors;      /* of those that returned, those with an errno */
	__u64 again;       /* of these, EAGAIN */
	__u64 interrupted; /* of those that returned: by a signal, and made again or ended with EINTR */
};

/* Key of `syscall_errnos`; the value is how often (__u64). EAGAIN is counted in the row. */
struct kiln_errno_key {
	__u32 row;
	__u32 number;
};

#define KILN_SYSCALL_ROWS 4096 /* at most; user space takes fewer where CPUs are many */
#define KILN_SYSCALL_ERRNOS 16384

#define KILN_SYSCALL_TIME_LOSSES(X) \
	X(CALLS_WITHOUT_ROW, "calls_without_row", \
		"system calls for which not even a row of the call was free: callers and calls were too many") \
	KILN_FLIGHT_LOSS(X, CALLS_NOT_FOLLOWED) \
	X(ERRNOS_WITHOUT_ROW, "errnos_without_row", "failed system calls whose errno had no row: they are among the errors") \
	X(CALLERS_WITHOUT_NAME, "callers_without_name", "processes, threads or control groups for whose names there was no room") \
	KILN_DESCENDANT_LOSS(X, CALL_DESCENDANTS_MAP_FULL)

enum kiln_syscall_time_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_SYSCALL_TIME_LOSSES(X)
#undef X
		KILN_SYSCALL_TIME_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
