/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The first bytes of connections of unknown processes, until their first response shows whether they are of this protocol. */
#ifndef KILN_UNDECIDED_BPF_H
#define KILN_UNDECIDED_BPF_H

#include "common/bpf.h"
#include "requests/control.bpf.h"
#include "requests/losses.bpf.h"
#include "requests/request_reader.bpf.h"

/* The first bytes of a connection. */
struct undecided {
	__u64 arrived_ns; /* of the first receive; 0: not known */
	__u64 received_ns;
	__u32 length;
	__u32 reserved;
	__u8 bytes[2 * WINDOW_BYTES]; /* the second half is never used: the verifier bounds a place and a length, not their sum */
};

/* Key: the connection's id. Written by receives, deleted by the first reply, or when the connection ends. Full: the connection is
 * probed, as one that is met in its middle. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 128);
	__type(key, __u64);
	__type(value, struct undecided);
} undecided SEC(".maps");

/* A new value is too large for the stack; always zero. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct undecided);
} new_undecided SEC(".maps");

/* Drop the bytes that are kept of a connection; returns how many. */
static __noinline __u32 forget_undecided(__u64 id)
{
	struct undecided *kept = bpf_map_lookup_elem(&undecided, &id);
	__u32 length = 0;

	if (kept)
		length = kept->length;
	if (length)
		__sync_fetch_and_add(&control.undecided_bytes, -length);
	bpf_map_delete_elem(&undecided, &id);
	return length;
}

/* Drop them, and count them as lost. */
static __always_inline void lose_undecided(__u64 id)
{
	lose(KILN_LOST_UNSYNCHRONISED_BYTES, forget_undecided(id));
}

#endif
