/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a thread of a server works on: labels of stacks, and the records of the maps `work` and `held_stacks`. */
#ifndef KILN_WORK_H
#define KILN_WORK_H

#include "kiln_stacks.h"
#include "kiln_targets.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* A stack's label (struct kiln_stack_key), from its lowest bit:
 *
 *   1 bit    KILN_LABEL_IDLE
 *   3 bits   enum kiln_activity
 *   10 bits  a command's row, or KILN_LABEL_SEVERAL; enum kiln_unknown_work of unknown work
 *   2 bits   enum kiln_verdict */
#define KILN_LABEL_ACTIVITY_SHIFT 1
#define KILN_LABEL_ACTIVITIES 8
#define KILN_LABEL_ROW_SHIFT 4
#define KILN_LABEL_ROWS 1024
#define KILN_LABEL_SEVERAL 1023 /* in place of a row: different commands of a pipeline */
#define KILN_LABEL_VERDICT_SHIFT 14
#define KILN_LABEL(activity, row) ((activity) << KILN_LABEL_ACTIVITY_SHIFT | (row) << KILN_LABEL_ROW_SHIFT)

enum kiln_activity {
	KILN_ACTIVITY_NONE,       /* no requests are followed */
	KILN_ACTIVITY_EXEC,       /* a command is executed: from its receive to the thread's next receive or send */
	KILN_ACTIVITY_REPLY,      /* its reply is sent */
	KILN_ACTIVITY_READ,       /* its request is received */
	KILN_ACTIVITY_LOOP,       /* the event loop: waiting for events, timers */
	KILN_ACTIVITY_BACKGROUND, /* threads that neither receive nor send requests, and processes that the server started */
	KILN_ACTIVITY_UNKNOWN,
};

/* Why it is not known what a thread works on. X(symbol, name, meaning) */
#define KILN_UNKNOWN_WORK(X) \
	X(IO_THREADS, "io-threads", "requests pass from one thread to another, and can't be followed there") \
	X(EDGE, "edge of the session", "before the first event of the thread that is seen, or after the last one") \
	X(NOT_FOLLOWED, "not followed", "a receive whose requests are not known: of another protocol, or counted as lost") \
	X(UNMATCHED, "unmatched reply", "a send that is not matched with a request: messages to subscribers, replication") \
	X(NO_ROOM, "no room", "too many different stacks before it was known what they were for")

enum kiln_unknown_work {
#define X(symbol, name, meaning) KILN_UNKNOWN_##symbol,
	KILN_UNKNOWN_WORK(X)
#undef X
		KILN_UNKNOWN_WORK_COUNT
};

/* Where only some calls' stacks are kept: what has been decided of a stack's call. */
enum kiln_verdict {
	KILN_VERDICT_NONE, /* every stack is kept */
	KILN_VERDICT_SLOW, /* its service was longer than asked for */
	KILN_VERDICT_FAST,
};

#pragma clang diagnostic pop

#endif
