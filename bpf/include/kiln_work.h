/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a thread of a server works on: labels of stacks, and the record of the map `work`. */
#ifndef KILN_WORK_H
#define KILN_WORK_H

#include "kiln_histogram.h"
#include "kiln_targets.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* A stack's label (struct kiln_stack_key), from its lowest bit:
 *
 *   1 bit    KILN_LABEL_IDLE
 *   3 bits   enum kiln_activity
 *   10 bits  a command's row, or KILN_LABEL_SEVERAL; enum kiln_unknown_work of unknown work
 *   2 bits   enum kiln_verdict */
#define KILN_LABEL_IDLE 1 /* of off-CPU stacks: a wait in a multiplexer (epoll_wait and its kin) for new work */
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
	X(OUTGOING, "own connections", "connections that the server has opened itself, as to its master: they carry no client's commands") \
	X(NOT_WATCHED, "not watched", "the session watches a part of the connections or of the time, and this was in the rest") \
	X(UNMATCHED, "unmatched reply", "a send that is not matched with a request: messages to subscribers, replication") \
	X(NO_ROOM, "no room", "too many different stacks before it was known what they were for, or too many threads that receive or send")

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
	KILN_VERDICT_LEFT_OUT, /* where only some calls' stacks are kept: its stacks are dropped; where all are kept: its stacks wait for no reply */
};

/* Bands of latency (`service`): each is 8 neighbouring slots of the histogram, half a power of two; the last one what is beyond. Stacks have a band, not
 * a slot, so that the number of sums stays small. */
#define KILN_BAND_UNKNOWN 0
#define KILN_SLOTS_PER_BAND 8

static inline __u8 kiln_band_of(__u64 latency_ns)
{
	return kiln_histogram_slot(latency_ns) / KILN_SLOTS_PER_BAND + 1;
}

static inline __u32 kiln_label_row(__u16 label)
{
	return label >> KILN_LABEL_ROW_SHIFT & (KILN_LABEL_ROWS - 1);
}

static inline __u32 kiln_label_activity(__u16 label)
{
	return label >> KILN_LABEL_ACTIVITY_SHIFT & (KILN_LABEL_ACTIVITIES - 1);
}

/* The label of a stack in its sum: without KILN_VERDICT_LEFT_OUT. */
static inline __u16 kiln_kept_label(__u16 label)
{
	return label >> KILN_LABEL_VERDICT_SHIFT == KILN_VERDICT_LEFT_OUT ? label & ((1 << KILN_LABEL_VERDICT_SHIFT) - 1) : label;
}

/* Of what no stack is taken where only some calls' stacks are kept. */
enum kiln_left_out {
	KILN_LEFT_OUT_CALLS, /* of other calls */
	KILN_LEFT_OUT_LOOP,
	KILN_LEFT_OUT_BACKGROUND,
	KILN_LEFT_OUT_UNKNOWN,
	KILN_LEFT_OUT_COUNT
};

#define KILN_WORK_SLOTS 64 /* threads of servers whose work is followed: the main thread of each target by its index, and others behind */
#define KILN_WORK_THREADS 4096 /* threads, other than main ones, that have been seen to receive or send */

#define KILN_WORK_CLIENTS 32 /* addresses of clients that can be asked for */

struct kiln_work_client {
	__u8 address[16]; /* as in struct kiln_client_key */
	__u64 family;     /* enum kiln_address_family */
};

/* What user space chooses before loading, of objects that follow requests and of those that take stacks. */
struct kiln_work_options {
	__u32 followed;       /* 0: stacks have no labels */
	__u32 judged;         /* only the stacks of some calls are kept */
	__u64 slower_than_ns; /* of those whose service took as long, unless `thresholds` says otherwise; KILN_NO_THRESHOLD: of none */
	__u32 has_threshold;  /* calls are told apart as slow and fast; 0: `slower_than_ns` is 0 */
	__u32 keeps_fast;     /* those of the others, too */
	__u32 errors_only;
	__u32 by_command; /* only names that are in `wanted_commands` */
	__u32 clients;    /* entries of `client`; 0: all clients */
	__u32 reserved;
	struct kiln_work_client client[KILN_WORK_CLIENTS];
};

#define KILN_NO_THRESHOLD 0xffffffffffffffffULL

/* Calls of one verdict. */
struct kiln_judged_calls {
	__u64 calls;
	__u64 service_ns;
	__u64 blocked_ns; /* of the service: from the return of a reply's first send to that of its last */
};

/* One row of `judged_calls`, one copy for each possible CPU. */
struct kiln_judged {
	struct kiln_judged_calls slow; /* all that are asked for, where no threshold is */
	struct kiln_judged_calls fast;
};

/* Value of `work`, by slot: what a thread works on since its last receive or send. A cache line. Written by what follows requests, in the
 * thread itself; read, and `undecided` written, by what takes its stacks. */
struct kiln_work {
	__u64 event_ns;    /* when that receive or send returned; 0: none was seen */
	__u64 connection;  /* of a receive */
	__u64 received_ns; /* likewise */
	__u64 others_ns;   /* of a main thread: when another thread of its process last received, to within 100 ms */
	__u64 started;     /* start_boottime of a thread that is not the main one: its number may be another thread's later */
	__u16 label;       /* of what it does since; 0: the next event decides */
	__u16 inside;      /* enum kiln_work_call: of a function that receives or sends in user space */
	__u32 undecided;   /* stacks that the next event decides */
	__u32 held;        /* stacks that wait for a decision, or for their call's reply */
	__u32 unused;
	__u64 kept_ns;     /* from when on the stacks of the call that is executed are kept, whatever follows; 0: its reply decides */
	__u64 held_for;    /* a bit for each connection on whose replies held stacks wait (kiln_held_bit) */
	__u32 held_end;    /* all held stacks lie before this index */
	__u16 outer_label; /* of the execution inside of which the event loop runs; 0: it is the outermost loop */
	__u16 reserved;
	__u64 outer_connection; /* as `connection`, of that execution */
	__u64 outer_received_ns;
	__u64 reserved_too[4];
};

static inline __u64 kiln_held_bit(__u64 connection)
{
	return 1ULL << (connection * 0x9E3779B97F4A7C15ULL >> 58);
}

/* The call in which a stack was taken. */
enum kiln_work_call {
	KILN_CALL_NONE,
	KILN_CALL_RECEIVE,
	KILN_CALL_SEND,
	KILN_CALL_WAIT, /* for events */
};

/* What is known of a thread's work when its stack is taken. */
struct kiln_known_work {
	__u64 connection;  /* whose call it works for, if `label` has a command */
	__u64 received_ns; /* and when that was received */
	__u64 turn_ns;     /* the beginning of the event loop's turn */
	__u32 slot;        /* of the thread; KILN_WORK_SLOTS: it has none */
	__s32 descriptor;  /* of the call; -1: any */
	__u16 call;        /* enum kiln_work_call */
	__u16 label;       /* unless the next event is that of the call; 0: the next event decides */
	__u16 is_decided;
	__u16 is_kept; /* whatever the reply is */
};

#pragma clang diagnostic pop

#endif
