/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of stack_check.bpf.c. */
#ifndef STACK_CHECK_H
#define STACK_CHECK_H

#include "kiln_stacks.h"
#ifndef __bpf__
#include "kiln_objects.h"
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define STACK_COPY_REGISTERS 17 /* by DWARF number: 6 rbp, 7 rsp, 16 rip */
#define STACK_COPY_PAGE 4096
#define STACK_COPY_PAGES 9 /* at least 32 KiB above the stack pointer */
#define STACK_COPY_RING_BYTES (1 << 25)

/* A sample: what the unwinder was given, and what it made of it. */
struct stack_copy {
	__u64 registers[STACK_COPY_REGISTERS];
	__u64 start; /* of the copied stack: the page of the stack pointer */
	__u32 pages; /* copied; the next one could not be read, or there was no more room */
	__u32 depth;
	__u32 end; /* enum kiln_stack_end */
	__u32 reserved;
	__u64 frames[KILN_USER_DEPTH];
	__u8 stack[STACK_COPY_PAGES * STACK_COPY_PAGE];
};

/* Sums over samples, one copy for each possible CPU. */
struct stack_times {
	__u64 samples;
	__u64 user_frames;
	__u64 kernel_frames;
	__u64 kernel_ns; /* the kernel's own unwinder */
	__u64 user_ns;   /* kiln's */
	__u64 again_ns;  /* the same stack once more: all is in the caches */
	__u64 clock_ns;  /* reading the clock: it is in each of the other times */
};

#pragma clang diagnostic pop

#ifndef __bpf__
/* The compiled object. */
struct kiln_object stack_check_object(void);
#endif

#endif
