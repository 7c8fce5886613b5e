/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of exec.bpf.c: programs that were executed, executions that failed, and how programs ended. */
#ifndef KILN_EXEC_H
#define KILN_EXEC_H

#include "kiln_members.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_EXEC_ARGUMENT_BYTES 8192   /* of an execution's arguments at most; a power of two */
#define KILN_EXEC_ARGUMENTS 4096        /* of a failed execution: that many arguments are counted */
#define KILN_EXEC_FILE_BYTES 4096       /* of the program's path, NUL included: PATH_MAX */
#define KILN_EXEC_INTERPRETER_BYTES 256 /* of a script's interpreter: the kernel's own limit */
#define KILN_EXEC_RING_BYTES (16 << 20) /* records on their way to user space */
#define KILN_EXEC_PROGRAMS 65536        /* programs that run at a time, of those that were executed in the session */

/* What user space chooses before loading. */
struct kiln_exec_options {
	__u32 argument_bytes; /* at most KILN_EXEC_ARGUMENT_BYTES */
	__u32 ends;           /* how programs end is told, too */
};

enum kiln_exec_kind {
	KILN_EXEC_BEGAN,  /* struct kiln_exec_record: a program was executed */
	KILN_EXEC_FAILED, /* struct kiln_exec_record: none was */
	KILN_EXEC_ENDED,  /* struct kiln_exec_end */
};

enum kiln_exec_flag {
	KILN_EXEC_ARGUMENTS_LOST = 1 << 0, /* the arguments, or the rest of them, could not be read */
	KILN_EXEC_MORE_ARGUMENTS = 1 << 1, /* there are more than were counted */
	KILN_EXEC_BEFORE_LOST = 1 << 2,    /* the thread's name before is not known */
};

/* Times are CLOCK_MONOTONIC. */
struct kiln_exec_record {
	__u32 kind;
	__u32 flags;
	__u64 at_ns;          /* when the program was about to begin, or the call returned */
	__u64 program;        /* its number in the session, from 1; 0: it failed */
	__u64 argument_bytes; /* of all arguments, each with its NUL; failed: of those that were read */
	__u32 tgid;
	__u32 tid; /* the thread that made the call; the program's first thread has the process's */
	__u32 parent;
	__u32 user;      /* the real one, in the initial user namespace */
	__s32 result;    /* 0, or -errno */
	__u32 arguments; /* their number */
	char comm_before[KILN_COMM_BYTES];
	char comm[KILN_COMM_BYTES];
	__u32 arguments_captured;   /* bytes of the arguments, each ended by NUL unless it was cut */
	__u16 file_captured;        /* and of the path that was asked for behind them, with its NUL; 0: it could not be read */
	__u16 interpreter_captured; /* and, of a script, of the program that runs it */
#ifdef __bpf__
	__u8 bytes[2 * KILN_EXEC_ARGUMENT_BYTES]; /* the last argument is read whole, then cut; user space finds them behind the struct */
#endif
};

enum kiln_exec_end_kind {
	KILN_EXEC_END_EXITED,   /* `status` is what wait(2) tells */
	KILN_EXEC_END_REPLACED, /* its process executed another program */
};

struct kiln_exec_end {
	__u32 kind;
	__u32 how; /* enum kiln_exec_end_kind */
	__u64 at_ns;
	__u64 program;
	__u32 status;
	__u32 reserved;
};

#define KILN_EXEC_LOSSES(X) \
	X(EXEC_RING_FULL, "executions_lost", "executions without a line: the ring to user space was full") \
	X(EXEC_END_RING_FULL, "program_ends_lost", "programs whose end is not known: the ring to user space was full") \
	X(EXEC_PROGRAMS_MAP_FULL, "programs_map_full", "programs whose end is not known: more ran at a time than there was room for") \
	KILN_DESCENDANT_LOSS(X, EXEC_DESCENDANTS_MAP_FULL)

enum kiln_exec_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_EXEC_LOSSES(X)
#undef X
		KILN_EXEC_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
