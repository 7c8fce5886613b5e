/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of observers.bpf.c. */
#ifndef KILN_OBSERVERS_H
#define KILN_OBSERVERS_H

#ifndef __bpf__
#include "kiln_objects.h"
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define OBSERVER_PAYLOAD 1024

struct observer_options {
	__u32 tgid;    /* the target */
	__u32 burn_ns; /* in each send */
};

struct observer_burned {
	__u64 calls; /* that nothing interrupted */
	__u64 ns;
};

#define OBSERVER_LOOK_AT_RECEIVE 48 /* bytes; a multiple of 8 */
#define OBSERVER_LOOK_AT_SEND 16

struct observer_looked {
	__u64 calls;     /* whose bytes could be read */
	__u64 seen;      /* a sum of what was read, which means nothing */
	__u64 registers; /* scratch: an address as a number */
};

/* A request, shipped whole whatever its length: what tools that print each request do. */
struct observer_event {
	__u64 time_ns;
	__u32 tgid;
	__u32 length; /* of the receive; the payload has at most its request's first bytes */
	__u8 payload[OBSERVER_PAYLOAD];
};

#pragma clang diagnostic pop

#ifndef __bpf__
/* The compiled object. */
struct kiln_object observers_object(void);
#endif

#endif
