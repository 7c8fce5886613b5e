/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A socket of the kernel's: which protocol it speaks, which inode it has, and who is at its other end. */
#ifndef KILN_PEERS_BPF_H
#define KILN_PEERS_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define SOCK_STREAM 1

static __always_inline bool is_tcp(__u16 family, __u16 protocol)
{
	return protocol == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
}

static __always_inline bool is_stream(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return is_tcp(family, BPF_CORE_READ(sk, sk_protocol)) || (family == AF_UNIX && BPF_CORE_READ(sk, sk_type) == SOCK_STREAM);
}

/* Who is at the other end of a socket. By way of `sk` alone: each type by which the kernel's are followed costs a start 1.5 ms. */
static __always_inline void describe_client(struct kiln_client_key *client, struct sock *sk, __u32 process)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	client->process = process;
	if (family == AF_INET) {
		client->family = KILN_ADDRESS_IPV4;
		bpf_core_read(client->address, sizeof sk->__sk_common.skc_daddr, &sk->__sk_common.skc_daddr);
	}
	if (family == AF_INET6) {
		client->family = KILN_ADDRESS_IPV6;
		bpf_core_read(client->address, sizeof client->address, &sk->__sk_common.skc_v6_daddr);
	}
	if (family == AF_UNIX)
		client->family = KILN_ADDRESS_UNIX;
}

/* By a helper, though a hook may be able to follow the pointer: for each load of a pointer through one that it trusts the verifier looks
 * for three names among all types of the kernel, which takes it a millisecond. */
static __always_inline __u64 socket_inode(struct sock *sk)
{
	__u64 inode = 0;
	char *socket = (char *)BPF_CORE_READ(sk, sk_socket);

	if (socket)
		bpf_probe_read_kernel(&inode, sizeof inode,
			socket - bpf_core_field_offset(struct socket_alloc, socket) +
				bpf_core_field_offset(struct socket_alloc, vfs_inode.i_ino));
	return inode;
}

#endif
