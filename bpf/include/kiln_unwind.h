/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Unwind tables: made from .eh_frame in user space, searched by the unwinder in the kernel.
 *
 * A table belongs to one ELF file and is an array of 8-byte cells: first the index, a struct kiln_unwind_granule for each
 * 256 bytes of the file's text from its lowest covered address on, then the rows, sorted by pc.
 *
 * The row of a pc is the last one at or below it. It lies in cells [first - 1, end) of the pc's granule: the first row
 * of the table has pc 0, so that there is one before every other granule's, and no granule has more than 256 rows.
 * A pc beyond the last granule has no row. Where a file has no call frame information, granules and rows are 0 in number,
 * and the table is one cell of zeroes, because a map can't be empty. */
#ifndef KILN_UNWIND_H
#define KILN_UNWIND_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_UNWIND_GRANULE_SHIFT 8

/* How the canonical frame address (CFA, DWARF 5 section 6.4) is found; "offset" counts 8-byte words. */
enum kiln_unwind_rule {
	KILN_UNWIND_NONE,             /* no call frame information covers this pc */
	KILN_UNWIND_SP,               /* CFA = sp + offset */
	KILN_UNWIND_FP,               /* CFA = frame pointer + offset */
	KILN_UNWIND_END,              /* the return address is undefined: the outermost frame */
	KILN_UNWIND_PLT,              /* CFA = sp + 8 bytes, and 8 more where (pc & 15) >= offset */
	KILN_UNWIND_SIGNAL,           /* a signal frame: the interrupted registers lie in a ucontext at sp */
	KILN_UNWIND_DEREFERENCE_FP,   /* CFA = *(frame pointer + offset) */
	KILN_UNWIND_DEREFERENCE_SP,   /* CFA = *(sp + offset) */
	KILN_UNWIND_DEREFERENCE_SP_8, /* CFA = *(sp + offset) + 8 bytes */
	KILN_UNWIND_REGISTER,         /* CFA = a register + offset, both packed into `offset`; only known in the innermost frame */
	KILN_UNWIND_RETURN_REGISTER,  /* CFA = sp + offset; the return address is in a register; packed too; innermost only */
	KILN_UNWIND_UNSUPPORTED,      /* rules that a row can't express */
	KILN_UNWIND_FP_ELSEWHERE,     /* CFA = frame pointer + offset, which may lie on another stack, below this one */
	KILN_UNWIND_SP_FAR,           /* CFA = sp + KILN_UNWIND_FAR + offset, which is unsigned here: frames of 256 to 768 KiB */
};

/* Set in the rule of a row that no call frame information gives: it was derived from the instructions, and may be wrong. */
#define KILN_UNWIND_DERIVED 0x80

#define KILN_UNWIND_FAR 32768 /* words: what the offset of KILN_UNWIND_SP can't reach */

/* The two rules with a register: offset = words << 5 | DWARF register. Shift right arithmetically to get the words. */
#define KILN_UNWIND_REGISTER_SHIFT 5
#define KILN_UNWIND_REGISTER_MASK 31

/* In all rules but NONE, END, SIGNAL and UNSUPPORTED the return address is at CFA - 8 bytes (x86-64), unless it is in a
 * register, sp of the caller is the CFA, and `frame_pointer` says where the caller's frame pointer is.
 *
 * A row has no bits for a return address elsewhere, so these are rows for x86-64. arm64 calls leave it in a register (x30), which a
 * function that calls others saves where it likes, most often in the word above the frame pointer's, and strips of the bits that
 * sign it: rows for it need to tell "still in the register" from "beside the saved frame pointer", by rules of their own. */
#define KILN_UNWIND_FP_SAME 0    /* the frame pointer register is the caller's */
#define KILN_UNWIND_FP_AT_FP 127 /* the caller's is at *(frame pointer) */
#define KILN_UNWIND_FP_UNDEFINED (-128)
/* any other value: the caller's frame pointer is at CFA + 8 * frame_pointer */

/* Valid from pc up to the next row's. */
struct kiln_unwind_row {
	__u32 pc;     /* ELF virtual address, less the table's base */
	__s16 offset; /* in 8-byte words */
	__s8 frame_pointer;
	__u8 rule;
};

/* The rows whose pc lies in one granule: cells [first, end). */
struct kiln_unwind_granule {
	__u32 first;
	__u32 end;
};

#pragma clang diagnostic pop

#endif
