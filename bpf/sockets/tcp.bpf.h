/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a TCP socket's counters and clocks say of a receive or a send: sequence numbers, the end of the stream, times. */
#ifndef KILN_TCP_BPF_H
#define KILN_TCP_BPF_H

#include "requests/sync.bpf.h"

#define RCV_SHUTDOWN 1

/* When TCP began to send what a send call gave it: its clock is read as it begins, and again only where acknowledgements
 * are handled before the call returns; then the time stamp of what was sent is right, unless it is paced. */
static __always_inline __u64 send_begin(__u64 clock, __u64 stamp)
{
	return clock < stamp ? clock : stamp;
}

/* When TCP had copied the bytes of the receive that returns: it reads its clock then (tcp_rcv_space_adjust), unless the connection has no
 * receive window yet. That clock needs not be read again; it is some 0.2 us older than the tracepoint. */
static __always_inline __u64 tcp_copied(const struct tcp_sock *tcp)
{
	return tcp->rcvq_space.space ? tcp->tcp_clock_cache : bpf_ktime_get_ns();
}

/* Whether a receive took its stream's first byte: whether what TCP has received begins there. Data that
 * arrives meanwhile changes the count before the sequence number; read in the other order, they may hide the beginning and never
 * feign it. */
static __always_inline bool is_first_of_stream(struct tcp_sock *tcp, const struct receive *receive)
{
	__u32 i, next;

	for (i = 0; i < 4; i++) {
		next = BPF_CORE_READ(tcp, rcv_nxt);
		if (next - (__u32)BPF_CORE_READ(tcp, bytes_received) == receive->copied_seq - receive->io.length)
			return true;
	}
	return false;
}

/* The sequence number up to which a receive has read, where its bytes don't join those before: behind the last one comes the FIN, which has a
 * number too, and is read with it if it is there. The FIN is checked before `rcv_nxt`: in the other order what comes
 * meanwhile looks as if read. A connection that was reset looks ended, too, without a FIN: hence only where the bytes don't fit as
 * they are. */
static __noinline int pass_end_of_stream(struct sock *sk, const struct connection *x, struct receive *receive)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	bool ended;

	if (x->sync == SYNC_UNKNOWN && is_first_of_stream(tcp, receive))
		return 0;
	ended = BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN;
	receive->copied_seq -= ended && receive->copied_seq == BPF_CORE_READ(tcp, rcv_nxt);
	receive->gap = x->sync != SYNC_UNKNOWN && !continues(x, receive);
	return 0;
}

#endif
