/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A connection is met for the first time: whether its stream begins there, who opened it, and who is at its other end. */
#ifndef KILN_FIRST_RECEIVE_BPF_H
#define KILN_FIRST_RECEIVE_BPF_H

#include "common/bpf.h"
#include "requests/client.bpf.h"
#include "sockets/arrivals.bpf.h"
#include "sockets/peers.bpf.h"
#include "sockets/tcp.bpf.h"

/* Inode numbers of the sockets that the targets held when the session began. A socket that is not of TCP proves the
 * start of its stream by being absent here. Written by user space, then control.armed is set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* what the targets may hold: user space decides */
	__type(key, __u64);
	__type(value, __u8);
} earlier_sockets SEC(".maps");

/* All is attached, and what was open by then is known. */
static __always_inline bool is_armed(void)
{
	return *(volatile __u32 *)&control.armed;
}

static __always_inline bool is_new_socket(__u64 inode)
{
	return is_armed() && !bpf_map_lookup_elem(&earlier_sockets, &inode);
}

/* Scratch, one for each CPU. Not on the stack, because the verifier takes what lies in a map for any number, and so doesn't
 * follow each way of filling it into all that comes after. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct receive);
} receives SEC(".maps");

static __always_inline struct receive *new_receive(__u32 length)
{
	__u32 zero = 0;
	struct receive *receive = bpf_map_lookup_elem(&receives, &zero);

	if (receive) {
		__builtin_memset(receive, 0, __builtin_offsetof(struct receive, times));
		receive->io.length = length;
	}
	return receive;
}

/* What a connection's first receive shows beside its bytes. `arrival`: NULL where arrivals are not seen. */
static __noinline int describe_first_receive(struct sock *sk, struct arrival *arrival, struct receive *receive, __u32 process)
{
	if (receive->tcp) {
		struct tcp_sock *tcp = (struct tcp_sock *)sk;

		if (arrival)
			follow_arrivals(arrival, tcp, receive->copied_seq);
		receive->first_of_stream = is_first_of_stream(tcp, receive);
		/* A listener's backlog limit is inherited by what it accepts; connect() sets none. */
		receive->incoming = BPF_CORE_READ(sk, sk_max_ack_backlog) != 0;
	} else if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX) {
		receive->unsupported = BPF_CORE_READ(sk, sk_type) == SOCK_STREAM;
	} else {
		/* What a listener accepts inherits its address; who connects has none. */
		receive->incoming = BPF_CORE_READ((struct unix_sock *)sk, addr) != NULL;
		receive->first_of_stream = !is_sampled() && is_new_socket(socket_inode(sk)); /* what came before may have been left out */
	}
	describe_client(&receive->client, sk, process);
	return 0;
}

/* The client's side: a connection's first event. What a listener accepts inherits its backlog limit, or its address.
 * `server`: scratch, zero. */
static __always_inline void meet_server(struct connection *x, struct sock *sk, __u64 inode, __u32 process, struct kiln_client_key *server)
{
	bool incoming;

	if (x->flags & PEER_KNOWN)
		return;
	describe_client(server, sk, process);
	if (server->family == KILN_ADDRESS_UNIX) {
		incoming = BPF_CORE_READ((struct unix_sock *)sk, addr) != NULL;
	} else {
		incoming = BPF_CORE_READ(sk, sk_max_ack_backlog) != 0;
		server->port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	}
	client_meets(x, server, incoming, is_new_socket(inode));
}

#endif
