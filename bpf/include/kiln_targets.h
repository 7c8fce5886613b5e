/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which processes a session watches: read-only for the kernel, filled before loading.
 * A process is named by its index in this list everywhere else ("process" in keys). */
#ifndef KILN_TARGETS_H
#define KILN_TARGETS_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_MAX_TARGETS 16

struct kiln_targets {
	__u32 count;
	__u32 tgids[KILN_MAX_TARGETS]; /* in the initial pid namespace */
	__u32 known_servers;           /* a bit for each process that is known to serve the protocol */
};

#pragma clang diagnostic pop

#endif
