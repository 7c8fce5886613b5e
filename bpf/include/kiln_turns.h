/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The record of the map `turns`: where the event loop of a process stands. */
#ifndef KILN_TURNS_H
#define KILN_TURNS_H

#include "kiln_targets.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* A cache line, so that processes on different CPUs do not share one. */
struct kiln_turn {
	__u64 began_ns; /* when the main thread last returned from waiting for events (CLOCK_MONOTONIC) */
	__u64 known;    /* 1 while a program that sees this is attached; user space writes it */
	__u64 stack;    /* the user's stack pointer in that call */
	__u64 top; /* the highest one seen: of the outermost loop. A deeper one is of a loop inside of an execution: see in_inner_loop() */
	__u64 watched_from_ns; /* requests are watched from then on; 0: throughout. User space writes it. */
	__u64 reserved[3];
};

#pragma clang diagnostic pop

#endif
