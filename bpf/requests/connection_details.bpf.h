/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The details of a connection: the maps that hold them, and how they are found. */
#ifndef KILN_CONNECTION_DETAILS_BPF_H
#define KILN_CONNECTION_DETAILS_BPF_H

#include "common/bpf.h"
#include "requests/connections.bpf.h"

#define CONNECTIONS_MAX 65536 /* hook syscall: connections at a time */

/* Key: socket; value: its connection's details. Charged to the socket's option memory, freed with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection_details);
} socket_connections SEC(".maps");

/* Key: socket inode number, which no other socket takes while this one may be used: a reused descriptor is another
 * inode, a duplicated one the same; or the id of an SSL object (hook TLS). Value: the connection's details. Full: counted
 * as connections_without_state. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, __u64);
	__type(value, struct connection_details);
} inode_connections SEC(".maps");

/* A new connection's value is too large for the stack; always zero. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection_details);
} new_connection SEC(".maps");

/* Where a hook keeps a connection's details: by socket, or by id where `sk` is NULL. */
struct place {
	struct sock *sk;
	__u64 id;
	const struct pt_regs *regs; /* with a trace and `sk`: of the system call, or NULL where the hook sees the call otherwise */
};

static __noinline struct connection_details *details_at(const struct place *place)
{
	struct connection_details *c, *fresh;
	__u64 id = place->id;
	__u32 zero = 0;

	if (place->sk)
		return bpf_sk_storage_get(&socket_connections, place->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	c = bpf_map_lookup_elem(&inode_connections, &id);
	fresh = c ? NULL : bpf_map_lookup_elem(&new_connection, &zero);
	if (!fresh)
		return c;
	bpf_map_update_elem(&inode_connections, &id, fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&inode_connections, &id);
}

#endif
