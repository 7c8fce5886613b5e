/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of stacks.bpf.c. */
#ifndef KILN_STACKS_H
#define KILN_STACKS_H

#include "kiln_mappings.h"
#include "kiln_members.h"
#include "kiln_python.h"
#include "kiln_targets.h"
#include "kiln_work.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_KERNEL_DEPTH 127            /* frames of the kernel's side: its own default limit (perf_event_max_stack) */
#define KILN_USER_DEPTH 384              /* and of the user's; with Python's they fit into the frames of a struct kiln_stack */
#define KILN_FOUND_CODE 16               /* pieces of code a stack names that were found in it; more have no name if the process ends */
#define KILN_STACK_FRAMES 1024           /* words; a power of two, for the verifier */
#define KILN_STACK_COPY_BYTES (1 << 16)  /* of the stack of a thread asleep when the session begins: the innermost part */
#define KILN_STACKS_CAPACITY 32768       /* different stacks a session can hold */
#define KILN_STACKS_RING_BYTES (1 << 20) /* frames on their way to user space */

#define KILN_PROCESSES_CAPACITY 16384   /* processes a session can tell apart, the listed ones included */
#define KILN_ENDED_RING_BYTES (1 << 16) /* numbers of ended processes on their way to user space */

/* What user space chooses before loading. */
struct kiln_stack_options {
	__u32 by_thread;   /* equal stacks of threads with other names are other stacks */
	__u32 wait_states; /* a bit for each enum kiln_wait_state that is wanted */
	__u32 wakers;      /* who ends a wait is recorded, too */
	__u32 reserved;
	__u64 min_wait_ns;      /* shorter waits are left out */
	__u64 max_wait_ns;      /* and longer ones */
	__u64 interrupts_start; /* where the kernel's code for interrupts begins: entries of the hardware, not of exceptions and system calls */
	__u64 interrupts_end;
};

/* What a thread that doesn't run waits for. */
enum kiln_wait_state {
	KILN_WAIT_SLEEPING,        /* until it is woken, or a signal comes (TASK_INTERRUPTIBLE) */
	KILN_WAIT_UNINTERRUPTIBLE, /* until it is woken (TASK_UNINTERRUPTIBLE): disk, page faults, locks of the kernel */
	KILN_WAIT_RUNNABLE,        /* for a CPU: since it was woken or preempted */
	KILN_WAIT_STOPPED,         /* by a signal or a debugger */
	KILN_WAIT_STATE_COUNT,
};

/* Whether a system call of x86-64 waits for any of several things to happen: a thread that has nothing to do is in one. */
static inline int kiln_is_multiplexer(unsigned long call)
{
	switch (call) {
	case 7:   /* poll */
	case 23:  /* select */
	case 208: /* io_getevents */
	case 232: /* epoll_wait */
	case 270: /* pselect6 */
	case 271: /* ppoll */
	case 281: /* epoll_pwait */
	case 333: /* io_pgetevents */
	case 426: /* io_uring_enter */
	case 441: /* epoll_pwait2 */
		return 1;
	}
	return 0;
}

#define KILN_WAITING_CAPACITY 131072 /* threads of the session that live at a time */

#define KILN_STACK_CONTEXTS 4 /* enum stack_context without events */

#define KILN_MAX_EVENTS 16   /* a session can record */
#define KILN_EVENT_NESTING 4 /* stacks of events that can be taken on a CPU at a time */

/* Of the events that were asked for, by their index. */
struct kiln_event_options {
	__u32 every[KILN_MAX_EVENTS];   /* a stack is taken at each one of so many */
	__s32 syscall[KILN_MAX_EVENTS]; /* tracepoints of system calls: only calls with this number; -1: all */
	__u32 own_tgid;                 /* of kiln, whose own events are left out */
	__u32 caused_by_kiln;           /* a bit for each event that its programs may cause while they take a stack */
	__u32 counted_calls;            /* a bit for each event that is a return of those system calls which syscall_times.bpf.c counts */
	__u32 by_time;                  /* these weigh as much as the call took, in ns */
};

/* What stacks are of: each kind has sums of its own. */
enum kiln_stack_kind {
	KILN_STACK_ON_CPU,  /* the timer found the thread on a CPU; its weight: samples */
	KILN_STACK_OFF_CPU, /* the thread left the CPU; its weights: struct kiln_wait_times */
	KILN_STACK_WAKER,   /* the thread woke one that waited; its weights: struct kiln_wakes */
	KILN_STACK_EVENT,   /* the first event that was asked for, and the others behind it; its weight: events */
	KILN_STACK_KIND_COUNT = KILN_STACK_EVENT + KILN_MAX_EVENTS,
};

/* Key of `stack_weights`; the value is a sum of weights (__u64). Never cleared while loaded. */
struct kiln_stack_key {
	__u64 hash;    /* of all frames, both depths, the end and the thread's name */
	__u32 process; /* listed ones by their index; others are numbered on when first met */
	__u8 kind;     /* enum kiln_stack_kind */
	__u8 band; /* of the latency of the call that the thread worked on (kiln_band_of()); KILN_BAND_UNKNOWN: it is not known, or there was none */
	__u16 label; /* what the thread worked on (kiln_work.h) */
};

/* The process of a waker's stack that is no process's: an interrupt, or a CPU that has nothing to do. */
#define KILN_NO_PROCESS_NUMBER 0xffffffffU

/* Key of `wakes`: who waited and who ended it, and its value. */
struct kiln_wake_key {
	struct kiln_stack_key waited;
	struct kiln_stack_key waker;
};

struct kiln_wakes {
	__u64 ns; /* from when the thread left the CPU until it was woken */
	__u64 wakes;
};

/* Value of `wait_times`, by struct kiln_stack_key; nanoseconds. */
struct kiln_wait_times {
	__u64 ns[KILN_WAIT_STATE_COUNT];
	__u64 waits; /* that began in the session and have ended */
	__u64 longest_ns;
	__u64 earlier_waits; /* that began before the session and have ended */
	__u64 earlier_ns;    /* their time in it, which `ns` includes */
};

/* Value of `waiting`, by tid: a wait that has not ended. */
struct kiln_waiting {
	struct kiln_stack_key key;
	__u64 began_ns;              /* 0: the thread is on a CPU */
	__u64 woken_ns;              /* when it was woken, or preempted; 0: not yet */
	__u32 state;                 /* enum kiln_wait_state, until it is woken */
	__u32 is_earlier;            /* the thread was asleep when the session began */
	struct kiln_stack_key waker; /* hash 0: not known */
	__u32 end;                   /* enum kiln_stack_end of its stack */
	__u32 is_guessed;            /* its stack has frames that are guesses */
	struct kiln_known_work work; /* its label is not in `key` */
};

#define KILN_HELD_STACKS 512 /* different stacks of a thread that can wait for a decision, or for their call's reply; a power of two */

enum kiln_held_state {
	KILN_HELD_FREE,
	KILN_HELD_TAKEN,     /* a program writes it, or adds it to its sum */
	KILN_HELD_UNDECIDED, /* the next event of the thread decides what it is for */
	KILN_HELD_DECIDED, /* it waits for its call's reply: for the band of its latency, and the verdict where only some calls' stacks are kept */
	KILN_HELD_KEPT,
	KILN_HELD_DROPPED,
};

/* A stack that is not in its sum yet. */
struct kiln_held_stack {
	struct kiln_stack_key key;
	struct kiln_known_work work;
	struct kiln_wait_times times; /* of stacks on a CPU or at an event: the weight in ns[0], how many in `waits` */
	__u32 state;                  /* enum kiln_held_state */
	__u32 reserved;
};

/* Value of `held_stacks`, by slot. */
struct kiln_held_stacks {
	struct kiln_held_stack stacks[KILN_HELD_STACKS];
};

/* How the user's side of a stack ended. X(symbol, name, what it means and what would help) */
#define KILN_STACK_ENDS(X) \
	X(COMPLETE, "complete", "reached the outermost function of the program or thread") \
	X(NO_PROCESS, "no_process", "a program executed a moment before, from a file that had not been read yet") \
	X(NO_MAPPING, "no_mapping", "code mapped a moment before, from a file that had not been read yet") \
	X(NO_TABLE, "no_table", \
		"a file without call frame information, or too large a one, and no frame pointer; it helps to build it with -fasynchronous-unwind-tables or -fno-omit-frame-pointer") \
	X(NO_ROW, "no_row", \
		"an address that its file's call frame information doesn't cover, and no frame pointer; it helps to build it with -fno-omit-frame-pointer") \
	X(UNSUPPORTED_ROW, "unsupported_row", "call frame information that the unwinder can't follow") \
	X(UNREADABLE_MEMORY, "unreadable_memory", \
		"stack memory that could not be read: swapped out, never written, or more than 64 KiB of a thread asleep when the session began") \
	X(TOO_DEEP, "too_deep", "more than 384 user frames; the innermost are kept") \
	X(STUCK, "stuck", "a caller's frame that doesn't lie above its callee's: a broken stack") \
	X(COMPAT_32_BIT, "compat_32_bit", "32-bit code") \
	X(PROBED_RETURN, "probed_return", \
		"a return address that a return probe is just replacing: the kernel lists the true one a moment later") \
	X(NOT_CODE, "not_code", "a return address outside of all code: the bottom of a coroutine that marks none, or a broken stack") \
	X(GENERATED_CODE, "generated_code", \
		"generated code without frame pointer; it helps to start a JVM with -XX:+PreserveFramePointer, Node.js with --interpreted-frames-native-stack") \
	X(IN_EXEC, "in_exec", "the kernel was replacing the program by another, which has no stack yet") \
	X(EXITING, "exiting", "the process was ending: its memory was gone")

enum kiln_stack_end {
#define X(symbol, name, meaning) KILN_END_##symbol,
	KILN_STACK_ENDS(X)
#undef X
		KILN_END_COUNT
};

/* Set in a user frame's address that isn't where a call returns to, but the instruction that a signal interrupted. The
 * innermost frame's never is a return address and isn't marked. */
#define KILN_FRAME_INTERRUPTED (1ULL << 63)

/* Set in a user frame's address that was found without call frame information of the code that it called: it may be another one's, and frames between
 * may be missing. */
#define KILN_FRAME_GUESSED (1ULL << 62)

/* A stack, sent once through the ring `new_stacks` when it is first seen; `frames` holds kernel_depth
 * addresses, user_depth addresses and python_depth frames of Python, each innermost first, and then the pieces of code found. Only that much is sent. */
struct kiln_stack {
	struct kiln_stack_key key;
	__u32 kernel_depth;
	__u32 user_depth;
	__u32 end; /* enum kiln_stack_end */
	__u32 tgid;
	__u32 origin;      /* the process it was forked from and has the code of; itself, where it has its own */
	__u32 family;      /* the listed process that it is or descends from, or KILN_NO_FAMILY; 0 where everything is sampled */
	__u64 start_stack; /* where its stack begins, as /proc/PID/stat has it: tells its executions apart */
	__u64 reading;     /* kiln_mappings_header.reading of the mappings that it was unwound with; 0: of none */
	__u64 comm[KILN_COMM_BYTES / 8];   /* the bytes of its leader's name */
	__u64 thread[KILN_COMM_BYTES / 8]; /* the bytes of the thread's name; zeros unless by_thread */
	__u32 found_count;                 /* pieces of code found: so many struct kiln_found_code behind all frames */
	__u32 python_depth;                /* Python's frames: so many words behind the addresses (kiln_python.h) */
	__u32 guessed;                     /* user frames with KILN_FRAME_GUESSED */
	__u32 reserved;
	__u64 frames[KILN_STACK_FRAMES];
};

/* Stacks of one kind of a listed process, or of all that descend from it; one copy for each possible CPU. */
struct kiln_stack_stats {
	__u64 seen;                          /* a stack was asked for */
	__u64 recorded;                      /* and its stack was counted */
	__u64 kernel_truncated;              /* recorded, with more than KILN_KERNEL_DEPTH frames in the kernel */
	__u64 guessed;                       /* recorded, with frames that are guesses */
	__u64 left_out[KILN_LEFT_OUT_COUNT]; /* no stack was taken: the thread worked for none of the calls that are asked for */
	__u64 dropped;              /* recorded, and in no sum: of a call that turned out not to be asked for, or held_stacks_full */
	__u64 ends[KILN_END_COUNT]; /* recorded, by how the user's side ended */
};

#define KILN_STACK_LOSSES(X) \
	X(NESTED_STACKS, "nested_stacks", \
		"stacks that were not taken: too many programs were taking stacks on that CPU, each interrupted or preempted") \
	X(OWN_EVENTS, "own_events", \
		"events of a thread while its stack was taken: the program that took it caused them, or an interrupt came in between") \
	X(HELD_STACKS_FULL, "held_stacks_full", \
		"recorded stacks that were dropped before their call's reply: too many different ones were waiting for theirs") \
	X(WAITING_MAP_FULL, "waiting_map_full", "waits of threads for which there was no room: too many live at a time") \
	X(WAITS_WITHOUT_END, "waits_without_end", "waits whose end the kernel did not show: their time is missing") \
	X(WAKES_MAP_FULL, "wakes_map_full", "wakers of waits for which there was no room: too many different pairs of stacks") \
	X(STACKS_MAP_FULL, "stacks_map_full", "samples of a stack for which there was no room: the session has too many different stacks") \
	X(STACKS_RING_FULL, "stacks_ring_full", "samples of a new stack that found no room on its way to user space") \
	X(PYTHON_FRAMES, "python_frames_cut", \
		"stacks whose Python frames could not be read to the end: they were about to change, swapped out, or more than 383") \
	X(PROCESSES_MAP_FULL, "processes_map_full", "samples of processes for which there was no room: the session has met too many") \
	KILN_DESCENDANT_LOSS(X, DESCENDANTS_MAP_FULL)

enum kiln_stack_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_STACK_LOSSES(X)
#undef X
		KILN_STACK_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
