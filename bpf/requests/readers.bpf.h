/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The scratch in which the bytes of a receive and of a send are followed. */
#ifndef KILN_READERS_BPF_H
#define KILN_READERS_BPF_H

#include "common/bpf.h"
#include "requests/response_reader.bpf.h"

/* Scratch. The programs run with preemption off and don't interrupt themselves: one for each CPU is enough. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct request_reader);
} request_readers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct response_reader);
} response_readers SEC(".maps");

#endif
