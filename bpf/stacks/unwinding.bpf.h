/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the unwinder knows while it walks a stack. */
#ifndef KILN_UNWINDING_BPF_H
#define KILN_UNWINDING_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"
#include "include/kiln_unwind.h"

#define UNWIND_WINDOW 1024 /* bytes of stack read at once: on redis-server 1.05 reads for 11 frames */
#define UNWIND_CACHE 512   /* addresses remembered for each CPU */
#define UNWIND_CACHE_SHIFT (64 - 9)
#define MAPLE_WORDS 32                /* a node of the kernel's tree of mappings */
#define FIRST_FRAME_BYTES 64          /* what the first instructions may push, or align away */
#define FIRST_FRAME_REACH (1 << 20)   /* and arguments that they may pass over */
#define FRAME_POINTER_REACH (1 << 20) /* a frame of more bytes is none: the register holds something else */
#define GUESS_MARKED (1 << 16)
#define SCANNED_WORDS 128      /* of the stack, for a return address: what one window holds */
#define SCANNED_IN_ALL 1024    /* for one stack: each word may cost a read */
#define CALLED_REACH (1 << 12) /* a function of more bytes is rare */

struct remembered_row {
	__u64 address;
	__u64 generation;
	__u64 changes; /* the mapping was as given then */
	__u64 row;
};

/* The rule of a remembered return address that has no row; `pc` is why. Not one of kiln_unwind.h's. */
#define UNWIND_NO_ROW 255

/* State of the stack that is being unwound. In map memory, because the verifier takes what it loads from there for any
 * number: the body of the loop looks the same to it in every turn. */
struct unwinding {
	__u64 pc;
	__u64 sp;
	__u64 fp;
	__u64 fp_saved_at; /* not 0: the caller's frame pointer lies there and was not needed yet */
	__u64 stack_start; /* where the process's first instruction found the stack pointer */
	__u64 hash;
	__u64 generation;
	__u64 changes;               /* stands for the state of the process's mappings: mappings_now() */
	__u64 task;                  /* the address of its struct task_struct */
	__u64 copied_at;             /* where the copy of the stack begins in the process: user_memory.bpf.h */
	__u64 copied_bytes;          /* 0: the task is the current one, and its memory is read where it is */
	struct kiln_mapping mapping; /* the last one used; end 0: none */
	__u32 process;
	__u32 depth;
	__u32 next; /* index of the next frame in kiln_stack.frames */
	__u32 end;
	__u32 exact;    /* pc is an instruction to come, not a return address */
	__u32 followed; /* frame pointers followed without a table */
	__u32 guessed;  /* 1 + why: pc was found without call frame information; with GUESS_MARKED where its frame says so */
	__u32 guesses;  /* frames that say so */
	__u32 scanned;  /* words of the stack that were looked at for return addresses */
	__u32 search_limit; /* of the search of the stack: words, whether a frame pointer bounds it, the number of the word found, for what code */
	__u32 search_has_frame;
	__u32 search_found;
	__u64 search_pc;
	__u32 knows_process; /* user space has given its mappings */
	__u32 found_count;
	__u32 is_found; /* the mapping used last is not as it was given, or was not given */
	struct kiln_found_code found[KILN_FOUND_CODE];
	struct kiln_code_piece piece;
	__u64 node[MAPLE_WORDS];
	__u64 python_interpreter; /* python/frames.bpf.h */
	__u64 python_at;          /* the thread of Python, then its frame; 0: there is no more */
	__u64 word;               /* what read_word() or read_window() read */
	__u64 window_at;
	__u64 window[UNWIND_WINDOW / 8];
	struct remembered_row rows[UNWIND_CACHE];
};

/* Where a program runs that takes a stack. A program in one context can interrupt one in another on the same CPU, so each has scratch of its
 * own. In one context programs follow each other: a timer's interrupt and the scheduler can't be interrupted by themselves. */
enum stack_context {
	IN_TASK, /* may be preempted: see record_stack() */
	IN_SOFT_INTERRUPT,
	IN_SCHEDULER,
	IN_TIMER,
	IN_EVENT = KILN_STACK_CONTEXTS, /* any of the above: the program takes one of these that is free */
	STACK_CONTEXTS = IN_EVENT + KILN_EVENT_NESTING,
};

/* Scratch by enum stack_context; the rows in it outlive the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_CONTEXTS);
	__type(key, __u32);
	__type(value, struct unwinding);
} unwindings SEC(".maps");

#endif
