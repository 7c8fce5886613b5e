/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* When the bytes arrived that a receive takes: only of the first one that was not yet read is that known.
 *
 * TCP's sequence numbers identify that byte, so the receiving side only reads what the interrupts noted: a write of its own
 * would take the cache line from their CPU once more and, as an atomic one, wait for all that the CPU has under way (70 ns of a
 * receive). Unix sockets have no such numbers: there the receiver clears the time. */
#ifndef KILN_ARRIVALS_BPF_H
#define KILN_ARRIVALS_BPF_H

#include "common/bpf.h"
#include "requests/connections.bpf.h"
#include "requests/io.bpf.h"
#include "requests/watch.bpf.h"

/* ---- TCP ---------------------------------------------------------------------------------------------------- */

/* Data is there to be read, of which the first byte is at `copied_seq`, and `next_seq` comes next. The socket is locked, so no
 * receive runs meanwhile. */
static __always_inline void tcp_data_arrives(__u64 id, __u32 copied_seq, __u32 next_seq, __u64 now)
{
	struct arrival *arrival = find_arrival(id);
	__s32 unread;

	/* The addition of nothing is a barrier, against the one in follow_arrivals(). */
	if (!arrival || (!arrival->followed && !__sync_fetch_and_add(&arrival->followed, 0)))
		return;
	if (may_leave_out() && arrival->followed != slice_mark()) {
		/* The first data that is seen in this slice. Data that came before and is still unread makes its time too late, once. */
		arrival->next_seq = copied_seq;
		arrival->followed = slice_mark();
	}
	unread = arrival->next_seq - copied_seq;
	if (unread <= 0) {
		/* In this order: see tcp_arrival(). */
		*(volatile __u32 *)&arrival->first_seq = copied_seq;
		*(volatile __u64 *)&arrival->unread_since_ns = unread ? ARRIVAL_UNKNOWN
								      : now; /* some was read whose arrival was not seen */
	}
	arrival->next_seq = next_seq;
}

/* When the byte at `first_seq` arrived, with which a receive began. */
static __always_inline __u64 tcp_arrival(const struct arrival *arrival, __u32 first_seq)
{
	__u64 since_ns;

	if (!arrival)
		return ARRIVAL_UNKNOWN;
	/* The time of later data can't be taken for this byte's: a reader that sees that time also sees its sequence number. */
	since_ns = *(volatile __u64 *)&arrival->unread_since_ns;
	return *(volatile __u32 *)&arrival->first_seq == first_seq ? since_ns : ARRIVAL_UNKNOWN;
}

/* The first receive of a connection has read up to `copied_seq`. */
static __always_inline void follow_arrivals(struct arrival *arrival, struct tcp_sock *tcp, __u32 copied_seq)
{
	arrival->next_seq = copied_seq;
	__sync_lock_test_and_set(&arrival->followed, slice_mark());
	/* What has arrived meanwhile may have been missed. */
	if (BPF_CORE_READ(tcp, rcv_nxt) != copied_seq)
		arrival->next_seq = copied_seq - 1;
}

/* ---- unix sockets ------------------------------------------------------------------------------------------- */

/* Data is there to be read. Runs beside receives, on other CPUs. */
static __always_inline void unix_data_arrives(__u64 id)
{
	struct arrival *arrival = find_arrival(id);

	if (!arrival || (arrival->unread_since_ns && (!may_leave_out() || arrival->followed == slice_mark())))
		return;
	arrival->unread_since_ns = bpf_ktime_get_ns();
	arrival->followed = slice_mark();
}

/* When the first byte that a receive took arrived. To be called before it is looked whether all was read, which the connection,
 * a full barrier, orders: data that arrives in between is either seen then or noted here. */
static __always_inline __u64 take_unix_arrival(struct arrival *arrival)
{
	__u64 since_ns = arrival ? __sync_lock_test_and_set(&arrival->unread_since_ns, 0) : ARRIVAL_UNKNOWN;

	return may_leave_out() && arrival && arrival->followed != slice_mark() ? ARRIVAL_UNKNOWN : since_ns;
}

/* Bytes were left behind. */
static __always_inline void forget_unix_arrival(struct arrival *arrival)
{
	if (arrival)
		arrival->unread_since_ns = ARRIVAL_UNKNOWN;
}

#endif
