/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace's requests: which are asked for, and their first bytes from receive to reply, because by then the server's buffer may
 * hold something else. */
#ifndef KILN_TRACE_REQUESTS_BPF_H
#define KILN_TRACE_REQUESTS_BPF_H

#include "common/bpf.h"
#include "include/kiln_trace.h"
#include "requests/connections.bpf.h"
#include "requests/losses.bpf.h"
#include "requests/variant.h"
#include PROTOCOL_HEADER(shown.bpf.h)

/* A connection may take OWN_WAYS of its own set; what it has beyond that goes into one of two others. Of 100 connections with pipelines of
 * 16, each request kept by itself, none of 200,000 then met full sets only; of 200 connections 29 (simulated). */
#define SETS_LOOKED_AT 3
#define OWN_WAYS 2
#define SLOT_WAYS 8              /* a power of two */
#define SLOT_SET_SHIFT (64 - 10) /* KILN_TRACE_SLOTS / SLOT_WAYS sets */

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

/* A request that waits for its reply, or of which a part is still to come; or all those of a small receive, one behind the other. */
struct trace_slot {
	__u64 request_bytes;
	__u64 reply_bytes; /* sent of the reply that goes on, in sends before the current one */
	__u32 request_captured;
	__u32 reply_captured;
	__u32 request_lost;
	__u32 coalesced; /* requests of the receive; 0: one request by itself */
	__u32 waiting;   /* of them, traced and not answered yet */
	__u32 first;     /* sequence of the first of them */
	__u8 request[KILN_TRACE_RECEIVE_BYTES];
	__u8 reply[KILN_TRACE_REPLY_BYTES];
};

/* Key: slot. Where there is no room, the request is traced without its bytes (traced_requests_without_room). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_TRACE_SLOTS);
	__type(key, __u32);
	__type(value, struct trace_slot);
} trace_slots SEC(".maps");

/* How many slots are taken that are not among the first OWN_WAYS of their connection's own set: mostly none, and then
 * requests are looked up in their own set only. */
__u32 slots_elsewhere SEC(".data.trace");

/* The owners of a set's slots. Not in the slots, where a search would miss the cache eight times. */
struct trace_set {
	__u64 ids[SLOT_WAYS];       /* of a connection; 0: free */
	__u32 sequences[SLOT_WAYS]; /* on the connection; of a receive its first request's */
};

/* Key: set, of the slots from key * SLOT_WAYS on. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_TRACE_SLOTS / SLOT_WAYS);
	__type(key, __u32);
	__type(value, struct trace_set);
} trace_sets SEC(".maps");

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

/* How many words of a command may leave the kernel; WORDS_MAX: all. A command without a row may have any name. */
static __always_inline __u32 words_to_emit(__u32 row)
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

	if (!client)
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

/* How the requests of a receive are captured, in `traced` of the reader; SPLIT: the reader reads coalesced requests again, singly. */
enum { NOT_TRACED, TRACED_SINGLY, TRACED_COALESCED, SPLIT };

/* Whether a command of this receive has to be known by itself, and not only as one of a run. */
static __always_inline bool requests_are_single(const struct request_reader *r, __u32 command)
{
	return r->traced == SPLIT || (r->traced == TRACED_SINGLY && traces_command(command)) ||
		(r->traced == TRACED_COALESCED && words_to_emit(command) < WORDS_MAX);
}

/* Whether few of the captured requests will be emitted, so that capturing whole receives is cheaper. */
static __always_inline bool emits_few(void)
{
	return trace.slower_than_ns || trace.errors_only;
}

/* ---- slots ----------------------------------------------------------------------------------------------------- */

/* Instead of a slot's index, and added to it. */
enum { NO_ROOM = -1, NOT_CAPTURED = -2, NEW_SLOT = 1 << 24 };

/* The sets where a request is looked for, one after the other: first its connection's own, which stays in the cache. */
static __always_inline __u32 slot_set(__u64 id, __u32 sequence, __u32 choice)
{
	if (choice)
		id = id * 0xBF58476D1CE4E5B9ULL ^ (sequence | (__u64)choice << 32);
	return id * 0x9E3779B97F4A7C15ULL >> SLOT_SET_SHIFT;
}

/* Among the first `ways` of a set; -1: none. */
static __always_inline int find_in_set(__u32 key, __u64 id, __u32 sequence, __u32 ways)
{
	struct trace_set *set = bpf_map_lookup_elem(&trace_sets, &key);
	__u32 i;

	for (i = 0; set && i < ways; i++) {
		if (set->ids[i] == id && set->sequences[i] == sequence)
			return key * SLOT_WAYS + i;
	}
	return -1;
}

/* The slot with this key, or -1. */
__noinline int find_slot(__u64 id, __u32 sequence)
{
	int found = find_in_set(slot_set(id, sequence, 0), id, sequence, OWN_WAYS);
	__u32 i;

	if (!*(volatile __u32 *)&slots_elsewhere)
		return found;
	for (i = 1; i < SETS_LOOKED_AT && found < 0; i++)
		found = find_in_set(slot_set(id, sequence, i), id, sequence, SLOT_WAYS);
	return found;
}

static __always_inline bool is_elsewhere(int index, __u64 id)
{
	return (__u32)index / SLOT_WAYS != slot_set(id, 0, 0) || (index & (SLOT_WAYS - 1)) >= OWN_WAYS;
}

/* Nobody will ask for it any more: its connection is gone, or waits for nothing. */
static __always_inline bool is_abandoned(__u64 id)
{
	struct connection *x = find_connection(id);

	return !x || (!x->pending && !(x->flags & (IN_REQUEST | IN_REPLY)));
}

/* One of the first `ways` slots of a set for this key; `displaces`: also one that is abandoned. -1: none. */
__noinline int claim_in_set(__u32 key, __u64 id, __u32 sequence, __u32 ways, bool displaces)
{
	struct trace_set *set = bpf_map_lookup_elem(&trace_sets, &key);
	int index, moved;
	__u32 i;

	for (i = 0; set && i < SLOT_WAYS && i < ways; i++) {
		__u64 former = set->ids[i];

		if (former && (!displaces || !is_abandoned(former)))
			continue;
		if (__sync_val_compare_and_swap(&set->ids[i], former, id) != former)
			continue;
		set->sequences[i] = sequence;
		index = key * SLOT_WAYS + i;
		moved = is_elsewhere(index, id) - (former && is_elsewhere(index, former));
		if (moved)
			__sync_fetch_and_add(&slots_elsewhere, moved);
		return index;
	}
	return -1;
}

static __always_inline struct trace_slot *slot_at(int index)
{
	__u32 key = index;

	return index < 0 ? NULL : bpf_map_lookup_elem(&trace_slots, &key);
}

static __always_inline void empty_slot(struct trace_slot *slot)
{
	__builtin_memset(slot, 0, __builtin_offsetof(struct trace_slot, request));
}

/* The slot with this key, made if there is none, and then NEW_SLOT added: to be emptied; -1: no room. */
__noinline int claim_slot(__u64 id, __u32 sequence)
{
	__u32 i;
	int found;

	/* In place where it can be in its own set only: most requests have none yet. */
	if (*(volatile __u32 *)&slots_elsewhere)
		found = find_slot(id, sequence);
	else
		found = find_in_set(slot_set(id, sequence, 0), id, sequence, OWN_WAYS);
	if (found >= 0)
		return found;
	/* Free ones first. */
	for (i = 0; i < 2 * SETS_LOOKED_AT && found < 0; i++)
		found = claim_in_set(slot_set(id, sequence, i % SETS_LOOKED_AT), id, sequence, i % SETS_LOOKED_AT ? SLOT_WAYS : OWN_WAYS,
			i >= SETS_LOOKED_AT);
	return found < 0 ? found : found + NEW_SLOT;
}

/* The slot with this key, empty if there was none; NULL: no room. */
static __always_inline struct trace_slot *claimed_slot(__u64 id, __u32 sequence)
{
	int claimed = claim_slot(id, sequence);
	struct trace_slot *slot = slot_at(claimed < 0 ? claimed : claimed & (NEW_SLOT - 1));

	if (slot && claimed >= NEW_SLOT)
		empty_slot(slot);
	return slot;
}

/* A connection's slot, unless another one has taken it meanwhile. */
static __always_inline void free_slot(int index, __u64 id)
{
	__u32 key = index / SLOT_WAYS;
	struct trace_set *set = index < 0 ? NULL : bpf_map_lookup_elem(&trace_sets, &key);

	if (set && __sync_val_compare_and_swap(&set->ids[index & (SLOT_WAYS - 1)], id, 0) == id && is_elsewhere(index, id))
		__sync_fetch_and_add(&slots_elsewhere, -1);
}

/* The slot with this key, which has nothing else, is left: a search without a call where it can be in its own set only, as most are. */
static __always_inline void free_slot_of(__u64 id, __u32 sequence)
{
	__u32 key = slot_set(id, sequence, 0), i;
	struct trace_set *set;

	if (*(volatile __u32 *)&slots_elsewhere) {
		free_slot(find_slot(id, sequence), id);
		return;
	}
	set = bpf_map_lookup_elem(&trace_sets, &key);
	for (i = 0; set && i < OWN_WAYS; i++) {
		if (set->ids[i] == id && set->sequences[i] == sequence) {
			__sync_val_compare_and_swap(&set->ids[i], id, 0);
			return;
		}
	}
}

/* The slot that has a request, by itself or with the others of its receive, of which `first` is the first one's sequence; or -1. */
__noinline int slot_with(__u64 id, __u32 sequence, __u32 first)
{
	int found = find_slot(id, first);
	struct trace_slot *slot;

	if (first == sequence)
		return found;
	slot = slot_at(found);
	return slot && sequence - first < slot->coalesced ? found : find_slot(id, sequence);
}

/* A connection ends. Who comes after it may have its id (an SSL object's address), and begins with the same sequences. */
static __always_inline void forget_requests(__u64 id)
{
	__u32 key = slot_set(id, 0, 0), i;
	struct trace_set *set = bpf_map_lookup_elem(&trace_sets, &key);

	for (i = 0; set && i < SLOT_WAYS; i++) {
		if (set->ids[i] == id)
			free_slot(key * SLOT_WAYS + i, id);
	}
}

/* `count` requests of a connection's slot have been emitted, or never will be. */
static __always_inline void leave_slot(int index, __u64 id, __u32 count)
{
	struct trace_slot *slot = slot_at(index);

	if (slot && slot->coalesced && slot->waiting > count)
		slot->waiting -= count;
	else
		free_slot(index, id);
}

/* ---- a request's bytes ----------------------------------------------------------------------------------------- */

/* Keep what the request with this sequence has in the receive that was just read: offsets [begun, end) of the reader, or what
 * of that lies behind the receives before. */
__noinline int capture_request(struct connection *x, struct request_reader *r, __u32 sequence, __u32 begun, __u32 end)
{
	struct trace_slot *slot;
	__u32 kept, length, room, offset;
	bool whole;
	long failed;

	if (!x || !r)
		return 0;
	slot = claimed_slot(x->id, sequence);
	if (!slot) {
		lose(KILN_LOST_TRACED_REQUESTS_WITHOUT_ROOM, 1);
		return 0;
	}
	whole = begun >= r->carried && begun < end;
	if (whole)
		empty_slot(slot);
	else if (!slot->request_bytes)
		slot->request_lost = 1; /* its beginning passed while there was no room */
	if (!whole)
		begun = r->carried;
	length = end - begun;
	slot->request_bytes += length;
	kept = slot->request_captured;
	if (trace.without_arguments || slot->request_lost || kept >= trace.request_bytes || kept >= KILN_TRACE_REQUEST_BYTES)
		return 0;
	room = trace.request_bytes - kept;
	if (length > room)
		length = room;
	barrier_var(length);
	barrier_var(kept);
	kept &= KILN_TRACE_REQUEST_BYTES - 1;
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
		slot->request_captured = kept + length;
	return 0;
}

/* Keep the whole requests of the receive that was just read, all of which lies in the reader's window: `count`, from the one with this
 * sequence on, of which none is known to be traced yet. The slot, or NO_ROOM. */
__noinline int capture_receive(struct connection *x, struct request_reader *r, __u32 sequence, __u32 count)
{
	struct trace_slot *slot;
	__u32 length;
	int index;

	if (!x || !r)
		return NO_ROOM;
	index = claim_slot(x->id, sequence);
	if (index < 0)
		return NO_ROOM;
	index &= NEW_SLOT - 1;
	slot = slot_at(index);
	if (!slot)
		return NO_ROOM;
	empty_slot(slot);
	slot->coalesced = count;
	slot->first = sequence;
	length = r->begun; /* what comes behind them may be secret */
	barrier_var(length);
	if (length > KILN_TRACE_RECEIVE_BYTES || bpf_probe_read_kernel(slot->request, length, r->bytes))
		slot->request_lost = 1;
	slot->request_bytes = slot->request_captured = length;
	return index;
}

#endif
