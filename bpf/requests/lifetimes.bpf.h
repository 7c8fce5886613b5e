/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A connection gets its place in the table, and gives it back. */
#ifndef KILN_LIFETIMES_BPF_H
#define KILN_LIFETIMES_BPF_H

#include "common/bpf.h"
#include "requests/connections.bpf.h"
#include "requests/losses.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/undecided.bpf.h"

static __always_inline bool is_idle(const struct connection *x, __u64 now)
{
	__u64 last = x->sent_ns > x->received_ns ? x->sent_ns : x->received_ns;

	return now > last && now - last > CONNECTION_IDLE_NS;
}

/* Requests of the connection that a trace has not decided about. */
static __always_inline void lose_pending(const struct connection *x)
{
	if (TRACING && x->pending)
		lose(KILN_LOST_UNTRACED_COMMANDS, x->pending);
}

static __always_inline void begin_arrivals(struct arrival *arrival, __u64 id)
{
	__builtin_memset(&arrival->unread_since_ns, 0, sizeof *arrival - sizeof arrival->id);
	asm volatile("" ::: "memory"); /* emptied before it can be found */
	arrival->id = id;
}

/* Make a place for a connection that has none; false: its set is full of connections in use. */
__noinline int claim_connection(__u64 id)
{
	__u32 key = set_of(id), i;
	struct connection_set *set = bpf_map_lookup_elem(&connections, &key);
	struct arrival_set *arriving = bpf_map_lookup_elem(&arrivals, &key);
	__u64 now = bpf_ktime_get_ns();

	if (!set || !arriving || !id)
		return false;
	for (i = 0; i < CONNECTION_WAYS; i++) {
		if (!set->ways[i].id && !__sync_val_compare_and_swap(&set->ways[i].id, 0, id)) {
			set->ways[i].received_ns = now;
			begin_arrivals(&arriving->ways[i], id);
			return true;
		}
	}
	for (i = 0; i < CONNECTION_WAYS; i++) {
		struct connection *x = &set->ways[i];
		__u64 former = x->id;

		if (former && is_idle(x, now) && __sync_val_compare_and_swap(&x->id, former, id) == former) {
			lose_pending(x);
			if (x->sync == SYNC_UNDECIDED)
				lose_undecided(former);
			__builtin_memset(&x->received_ns, 0, sizeof *x - sizeof x->id);
			x->received_ns = now;
			lose(KILN_LOST_DISPLACED_CONNECTIONS, 1);
			begin_arrivals(&arriving->ways[i], id);
			return true;
		}
	}
	return false;
}

static __noinline struct connection *make_connection(__u64 id)
{
	return claim_connection(id) ? find_connection(id) : NULL;
}

__noinline int free_connection(struct connection *x)
{
	struct arrival *arrival;

	if (!x)
		return 0;
	arrival = find_arrival(x->id);
	on_connection_freed(x);
	if (x->sync == SYNC_UNDECIDED)
		lose_undecided(x->id);
	if (arrival)
		arrival->id = 0;
	lose_pending(x);
	__builtin_memset(&x->received_ns, 0, sizeof *x - sizeof x->id);
	asm volatile("" ::: "memory"); /* emptied before it can be taken */
	x->id = 0;
	return 0;
}

#endif
