/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where the code of a process lies: written by user space, searched by the unwinder. */
#ifndef KILN_MAPPINGS_H
#define KILN_MAPPINGS_H

#include "kiln_unwind.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_UNWIND_TABLES 4096      /* files with a table, in a session */
#define KILN_UNWIND_CELLS (1 << 23)  /* 8-byte cells (64 MiB) of all tables together */
#define KILN_CODE_PIECES 16384       /* pieces of files that are known by what the kernel says of a mapping */
#define KILN_MAPPINGS_CAPACITY 65535 /* executable mappings of one process: what a search of 16 steps reaches */

/* One executable mapping: a cache line. An array of them is sorted by start; they don't overlap. */
struct kiln_mapping {
	__u64 start;
	__u64 end;
	__u64 bias;     /* address - bias: as in the rows of its table */
	__u64 checked;  /* written by the unwinder: when the kernel last had it so (unwinding.changes) */
	__u64 inode;    /* of its file, as /proc/PID/maps has it; 0: no file, or the kernel may have another one below it */
	__u64 seen;     /* written by the unwinder, for want of `inode`: stands for the file that it found first; 0: none */
	__u32 piece;    /* kiln_known_code.number; 0: none */
	__u32 table;    /* index in `unwind_tables`; 0: none, or anonymous memory */
	__u32 granules; /* of that table; without one, KILN_GENERATED_CODE or 0 */
	__u32 reserved;
};

#define KILN_GENERATED_CODE 1 /* no file holds it */

/* What stands in the place of the first mapping of a process. */
struct kiln_mappings_header {
	__u64 count;      /* mappings behind this cell */
	__u64 generation; /* never given twice in a session: what was learnt from another one is void */
	__u64 reading;    /* user space's number for when it read the mappings */
	__u64 layer;      /* its number for what was mapped then: the same address has the same code in all readings of one layer */
	__u64 reserved[4];
};

/* A piece of a file as it is mapped, wherever that is: key of `known_code`. The vDSO is all zeros. Another file may have the inode's
 * number later; then it has another size or time. */
struct kiln_code_piece {
	__u64 inode;
	__u64 size;
	__s64 modified_s;
	__u64 file_offset;
	__u32 modified_ns;
	__u32 device; /* major << 20 | minor, as in the kernel */
};

struct kiln_known_code {
	__u64 address; /* of the piece's first byte, as in the rows of its table */
	__u32 table;   /* as in a struct kiln_mapping */
	__u32 granules;
	__u64 number; /* by which user space knows the piece, from 1 */
};

/* Where the unwinder found other code than the mappings have that it was given, or that it was given none. */
struct kiln_found_code {
	__u64 start;
	__u64 end;
	__u64 number; /* of the known piece; 0: memory without a file */
};

#pragma clang diagnostic pop

#endif
