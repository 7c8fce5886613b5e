/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where the code of a process lies: written by user space, searched by the unwinder. */
#ifndef KILN_MAPPINGS_H
#define KILN_MAPPINGS_H

#include "kiln_unwind.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"    /* no hidden bytes in what both sides share */

#define KILN_UNWIND_TABLES 4096           /* files with a table, in a session */
#define KILN_UNWIND_CELLS (1 << 23)       /* 8-byte cells (64 MiB) of all tables together */
#define KILN_MAPPINGS_CAPACITY 65535      /* executable mappings of one process: what a search of 16 steps reaches */

/* One executable mapping. An array of them is sorted by start; they don't overlap. */
struct kiln_mapping {
	__u64 start;
	__u64 end;
	__u64 bias;                           /* address - bias: as in the rows of its table */
	__u32 table;                          /* index in `unwind_tables`; 0: none, or anonymous memory */
	__u32 granules;                       /* of that table */
};

/* What stands in the place of the first mapping of a process. */
struct kiln_mappings_header {
	__u64 count;                          /* mappings behind this cell */
	__u64 generation;                     /* never given twice in a session: what was learnt from another one is void */
	__u64 reserved[2];
};

#pragma clang diagnostic pop

#endif
