/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace's requests: which are asked for, and their first bytes from receive to reply, because by then the server's buffer may
 * hold something else. Without a trace the verifier finds trace.enabled to be 0 and removes all of it. */
#ifndef KILN_TRACE_REQUESTS_BPF_H
#define KILN_TRACE_REQUESTS_BPF_H

#include "include/kiln_trace.h"
#include "exchanges.bpf.h"

/* With 4 ways, some of 100,000 requests of 20 connections with pipelines of 16 met a full set; with 8, none (simulated). */
#define SLOT_WAYS 8                       /* a power of two */
#define SLOT_SET_SHIFT (64 - 11)          /* KILN_TRACE_SLOTS / SLOT_WAYS sets */
#define WORDS_MAX 8                       /* that are looked for in a request */

const volatile struct kiln_trace_options trace SEC(".rodata.trace");

/* Key: struct kiln_command_name. Written by user space before attaching. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * KILN_TRACE_COMMANDS);
	__type(key, struct kiln_command_name);
	__type(value, struct kiln_trace_name);
} trace_names SEC(".maps");

/* Key: row of a command; value: what `trace_names` says of its name. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_COMMAND_CAPACITY);
	__type(key, __u32);
	__type(value, struct kiln_trace_name);
} trace_rows SEC(".maps");

/* A request that waits for its reply, or of which a part is still to come. */
struct trace_slot {
	__u64 id;                         /* of its connection's exchange; 0: free */
	__u64 request_bytes;
	__u64 reply_bytes;                /* sent of its reply, in sends before the current one */
	__u32 request_kept;
	__u32 reply_kept;
	__u32 request_lost;
	__u32 sequence;                   /* on the connection */
	__u8 request[KILN_TRACE_REQUEST_BYTES];
	__u8 reply[KILN_TRACE_REPLY_BYTES];
	__u8 beyond[KILN_TRACE_REQUEST_BYTES - KILN_TRACE_REPLY_BYTES]; /* unused: where Linux 6.1's verifier sees a copy end */
};

/* Key: slot; SLOT_WAYS slots one behind the other are a set. Where a set is full, the request is traced without its bytes
 * (traced_requests_without_room). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_TRACE_SLOTS);
	__type(key, __u32);
	__type(value, struct trace_slot);
} trace_slots SEC(".maps");

/* ---- which --------------------------------------------------------------------------------------------------- */

static __always_inline void classify_for_trace(__u32 row, const struct kiln_command_key *key)
{
	struct kiln_trace_name *name = bpf_map_lookup_elem(&trace_names, key->name);

	if (name)
		bpf_map_update_elem(&trace_rows, &row, name, BPF_ANY);
}

/* Commands that got no row of their own have no name that could be asked for. */
static __always_inline bool traces_command(__u32 row)
{
	struct kiln_trace_name *name;

	if (!trace.by_command)
		return true;
	name = bpf_map_lookup_elem(&trace_rows, &row);
	return name && name->traced;
}

/* How many words of a command may leave the kernel; WORDS_MAX: all. Whoever has no row may have any name. */
static __always_inline __u32 words_to_tell(__u32 row)
{
	struct kiln_trace_name *name = bpf_map_lookup_elem(&trace_rows, &row);

	if (!name || row < KILN_MAX_TARGETS)
		return 0;
	return name->words ? name->words : WORDS_MAX;
}

/* `port`: as on the wire. */
__noinline int traces_client(const struct kiln_client_key *client, __u32 port)
{
	__u32 i;

	if (!trace.enabled || !client)
		return false;
	if (!trace.clients)
		return true;
	for (i = 0; i < KILN_TRACE_CLIENTS; i++) {
		const volatile struct kiln_trace_client *wanted = &trace.client[i];

		if (i >= trace.clients)
			break;
		if (wanted->family == client->family && (!wanted->port || wanted->port == port) &&
		    ((const volatile __u64 *)wanted->address)[0] == ((const __u64 *)client->address)[0] &&
		    ((const volatile __u64 *)wanted->address)[1] == ((const __u64 *)client->address)[1])
			return true;
	}
	return false;
}

/* Whether a command of this receive has to be known by itself, and not only as one of a run. */
static __always_inline bool requests_apart(const struct resp_reader *r, __u32 command)
{
	return trace.enabled && r->traced && traces_command(command);
}

/* ---- slots ----------------------------------------------------------------------------------------------------- */

static __always_inline __u32 first_slot(__u64 id, __u32 sequence)
{
	return (((id * 0xBF58476D1CE4E5B9ULL ^ sequence) * 0x9E3779B97F4A7C15ULL) >> SLOT_SET_SHIFT) * SLOT_WAYS;
}

/* The slot of a request, or -1. */
__noinline int find_slot(__u64 id, __u32 sequence)
{
	__u32 i, index;
	struct trace_slot *slot;

	if (!trace.enabled)
		return -1;
	for (i = 0; i < SLOT_WAYS; i++) {
		index = first_slot(id, sequence) + i;
		slot = bpf_map_lookup_elem(&trace_slots, &index);
		if (slot && slot->id == id && slot->sequence == sequence)
			return index;
	}
	return -1;
}

/* Nobody will ask for it any more: its connection is gone, or waits for nothing. */
static __always_inline bool is_abandoned(__u64 id)
{
	struct exchange *x = find_exchange(id);

	return !x || (!x->untold && !(x->flags & IN_REQUEST));
}

/* The slot of a request, made if there is none; -1: no room. */
__noinline int claim_slot(__u64 id, __u32 sequence)
{
	int found = find_slot(id, sequence);
	__u32 i, index;
	struct trace_slot *slot;

	if (!trace.enabled || found >= 0)
		return found;
	for (i = 0; i < SLOT_WAYS; i++) {
		__u64 former;

		index = first_slot(id, sequence) + i;
		slot = bpf_map_lookup_elem(&trace_slots, &index);
		if (!slot)
			return -1;
		former = slot->id;
		if (former && !is_abandoned(former))
			continue;
		if (__sync_val_compare_and_swap(&slot->id, former, id) != former)
			continue;
		slot->sequence = sequence;
		slot->request_bytes = 0;
		slot->reply_bytes = 0;
		slot->request_kept = 0;
		slot->reply_kept = 0;
		slot->request_lost = 0;
		return index;
	}
	lose(KILN_LOST_TRACED_REQUESTS_WITHOUT_ROOM, 1);
	return -1;
}

static __always_inline void free_slot(__u64 id, __u32 sequence)
{
	int found = find_slot(id, sequence);
	__u32 index = found;
	struct trace_slot *slot;

	if (found < 0)
		return;
	slot = bpf_map_lookup_elem(&trace_slots, &index);
	if (slot)
		slot->id = 0;
}

/* ---- a request's bytes ----------------------------------------------------------------------------------------- */

/* Keep what the request with this sequence has in the receive that was just read: offsets [begun, end) of the reader, or what
 * of that lies behind the receives before. */
__noinline int keep_request(struct exchange *x, struct resp_reader *r, __u32 sequence, __u32 begun, __u32 end)
{
	struct trace_slot *slot;
	__u32 index, kept, length, room, offset;
	bool whole;
	int found;
	long failed;

	if (!trace.enabled || !x || !r)
		return 0;
	found = claim_slot(x->id, sequence);
	index = found;
	slot = found < 0 ? NULL : bpf_map_lookup_elem(&trace_slots, &index);
	if (!slot)
		return 0;
	whole = begun >= r->carried && begun < end;
	if (whole)
		slot->request_kept = slot->request_bytes = slot->request_lost = 0;
	else if (!slot->request_bytes)
		slot->request_lost = 1;           /* its beginning passed while there was no room */
	if (!whole)
		begun = r->carried;
	length = end - begun;
	slot->request_bytes += length;
	kept = slot->request_kept;
	if (trace.without_arguments || slot->request_lost || kept >= trace.request_bytes || kept >= KILN_TRACE_REQUEST_BYTES)
		return 0;
	room = trace.request_bytes - kept;
	if (length > room)
		length = room;
	barrier_var(length);
	barrier_var(kept);
	kept &= KILN_TRACE_REQUEST_BYTES - 1;
	if (length > KILN_TRACE_REQUEST_BYTES - kept)
		return 0;
	/* A copy of up to KILN_TRACE_REQUEST_BYTES from anywhere below that ends inside the slot: its reply follows. */
	if (length > KILN_TRACE_REPLY_BYTES && kept)
		length = KILN_TRACE_REPLY_BYTES;
	barrier_var(length);
	if (length > KILN_TRACE_REQUEST_BYTES)
		return 0;
	offset = begun - r->window_start;
	if (begun >= r->window_start && offset + length <= r->window_length)
		failed = bpf_probe_read_kernel(slot->request + kept, length, &r->bytes[in_window(offset)]);
	else
		failed = bpf_probe_read_user(slot->request + kept, length, (void *)(r->address + begun));
	if (failed)
		slot->request_lost = 1;
	else
		slot->request_kept = kept + length;
	return 0;
}

/* Where the first `words` words of a request end; 0: it is inline, or its framing isn't plain. */
__noinline __u32 words_end(const struct trace_slot *slot, __u32 words)
{
	__u32 offset, next, i;
	__u64 number;

	if (!slot || slot->request[0] != '*')
		return 0;
	offset = short_header(slot->request, 8, &number);
	if (!offset || offset > slot->request_kept)
		return 0;
	for (i = 0; i < WORDS_MAX; i++) {
		const __u8 *b;

		barrier_var(offset);
		offset &= KILN_TRACE_REQUEST_BYTES - 1;
		b = &slot->request[offset];
		if (i >= words || *b != '$')
			break;
		next = short_header(b, 8, &number);
		if (!next)
			break;
		next += offset + (__u32)number + 2;
		if (next > slot->request_kept || next >= KILN_TRACE_REQUEST_BYTES)
			break;
		offset = next;
	}
	return offset;
}

#endif
