/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Redis commands: counts and latencies by process and command, aggregated here.
 *
 * Three hooks see the same receives and sends; user space loads the programs of one of them: hook_socket.bpf.h,
 * hook_fentry.bpf.h and hook_syscall.bpf.h. A fourth, hook_tls.bpf.h, sees into what they see encrypted. At all points the data of
 * a receive lies in the user's buffer; the saved registers hold the call's arguments, which two of them go by, what is made of
 * them is here.
 *
 * Limits: data beyond the first iovec of a server's receive, recvmmsg and 32-bit callers are not followed but counted as lost, and
 * the connection is taken up again at its next provable request boundary. A listener with a backlog of 0 makes its
 * connections look like outgoing ones, which are ignored.
 *
 * Compiled three times, because what a session doesn't need takes its time in each load: it is relocated, looked at, and cut out
 * by the kernel piece by piece.
 *
 *   redis   the server's side
 *   client  -DCLIENT_SIDE: what a process sends are requests (client.bpf.h)
 *   trace   -DTRACING: the server's side, and single requests are told (trace.bpf.h) */
#ifndef CLIENT_SIDE
#define CLIENT_SIDE 0
#endif
#ifndef TRACING
#define TRACING 0
#endif

#include "common/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "common/targets.bpf.h"
#include "sockets/tls.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define TS_COMPAT 2
#define IOVECS_AT_ONCE 8
#define SOCK_STREAM 1
#define RCV_SHUTDOWN 1
#define CONNECTIONS_MAX 65536             /* hook syscall: connections at a time */
/* From here on a send may be a piece of a reply: Redis before 7.0 sends buffers of 16 KiB, later ones up to 64 KiB a turn. */
#define REPLY_CHUNK (16 << 10)

/* System calls of x86-64. */
enum {
	NR_read = 0, NR_write = 1, NR_readv = 19, NR_writev = 20,
	NR_sendto = 44, NR_recvfrom = 45, NR_sendmsg = 46, NR_recvmsg = 47, NR_recvmmsg = 299, NR_sendmmsg = 307,
};

/* Inode numbers of the sockets that the targets held when the session began. A socket that is not of TCP proves the
 * start of its stream by being absent here. Written by user space, then control.armed is set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);                /* what the targets may hold: user space decides */
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

/* The buffer of a receive by iovecs: 0, or 1 + the loss that keeps it from being followed. `argument`: the call's second. Global,
 * as what else is: the verifier takes what it returns for any number, and doesn't follow each in what comes after. */
__noinline int receive_vectors(__u64 call, __u64 argument, struct receive *receive)
{
	__u64 vectors = argument;
	struct iovec first = {};
	struct user_msghdr header = {};

	if (!receive)
		return 0;
	switch (call) {
	case NR_recvmsg:
		if (bpf_probe_read_user(&header, sizeof header, (void *)argument))
			return 1 + KILN_LOST_UNREADABLE_BUFFERS;
		vectors = header.iov;
		break;
	case NR_readv:
		break;
	default:
		return 1 + KILN_LOST_UNSUPPORTED_RECEIVES;
	}
	if (bpf_probe_read_user(&first, sizeof first, (void *)vectors))
		return 1 + KILN_LOST_UNREADABLE_BUFFERS;
	receive->buffer = first.base;
	if (receive->length <= first.length)
		return 0;
	if (!CLIENT_SIDE)
		return 1 + KILN_LOST_SPLIT_RECEIVES;
	receive->buffer = vectors;
	receive->form = SEND_VECTORS;
	return 0;
}

/* What keeps a receive from being followed, whatever its buffer; the same numbers. */
static __always_inline int receive_loss(const struct pt_regs *regs, struct receive *receive, bool compat, bool discarded)
{
	if (compat)
		return 1 + KILN_LOST_UNSUPPORTED_RECEIVES;
	if (discarded && receive->tcp)
		return 1 + KILN_LOST_DISCARDED_RECEIVES;
	receive->buffer = regs->si;
	if (regs->orig_ax == NR_read || regs->orig_ax == NR_recvfrom)
		return 0;
	return receive_vectors(regs->orig_ax, regs->si, receive);
}

struct vectors {
	__u64 address;
	__u64 count;
	__u64 sum;
	bool unreadable;
};

static long add_vectors(__u32 index, struct vectors *vectors)
{
	struct iovec list[IOVECS_AT_ONCE] = {};
	__u64 count = vectors->count < IOVECS_AT_ONCE ? vectors->count : IOVECS_AT_ONCE;
	__u32 i;

	barrier_var(count);
	if (count > IOVECS_AT_ONCE || bpf_probe_read_user(list, count * sizeof list[0], (void *)vectors->address)) {
		vectors->unreadable = true;
		return 1;
	}
	for (i = 0; i < IOVECS_AT_ONCE; i++)
		vectors->sum += list[i].length;      /* 0 behind the last one */
	vectors->address += sizeof list;
	vectors->count -= count;
	return vectors->count == 0;
}

/* How many bytes a send of several pieces was asked to take; `sent` where that can't be known. Global, as above. */
__noinline __u64 requested_bytes(__u64 call, __u64 address, __u64 count, __u64 sent)
{
	struct vectors vectors = { address, count, 0, false };
	struct user_msghdr header = {};

	if (call == NR_sendmsg) {
		if (bpf_probe_read_user(&header, sizeof header, (void *)address))
			return sent;
		vectors.address = header.iov;
		vectors.count = header.iov_count;
	}
	bpf_loop(IOVECS_MAX / IOVECS_AT_ONCE, add_vectors, &vectors, 0);
	return vectors.unreadable ? sent : vectors.sum;
}

/* Where the bytes of a send lie. `trusted`: its connection's replies are followed. Then only a trace asks whether they were sent in part. */
static __always_inline void describe_send(const struct pt_regs *regs, struct send *send, __u32 sent, bool trusted)
{
	__u64 requested = sent;

	send->sent = sent;
	send->buffer = regs->si;
	switch (regs->orig_ax) {
	case NR_write:
	case NR_sendto:
		send->form = SEND_BYTES;
		if (TRACING || !trusted)
			requested = regs->dx;
		break;
	case NR_writev:
		send->form = SEND_VECTORS;
		break;
	case NR_sendmsg:
		send->form = SEND_MESSAGE;
		break;
	default:
		send->form = SEND_UNKNOWN;
	}
	if (!trusted && (send->form == SEND_VECTORS || send->form == SEND_MESSAGE))
		requested = requested_bytes(regs->orig_ax, regs->si, regs->dx, sent);
	if (TRACING || !trusted)
		send->in_part = sent < requested || sent >= REPLY_CHUNK;
}

#include "sockets/messages.bpf.h"

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

static __always_inline bool is_tcp(__u16 family, __u16 protocol)
{
	return protocol == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
}

/* Whether a receive took its stream's first byte: whether what TCP has received begins there. Of the two numbers that tell, data that
 * arrives meanwhile changes the count first; read the other way round, they may hide the beginning, and never feign it. */
static __always_inline bool is_first_of_stream(struct tcp_sock *tcp, const struct receive *receive)
{
	__u32 i, next;

	for (i = 0; i < 4; i++) {
		next = BPF_CORE_READ(tcp, rcv_nxt);
		if (next - (__u32)BPF_CORE_READ(tcp, bytes_received) == receive->copied_seq - receive->length)
			return true;
	}
	return false;
}

/* The sequence number up to which a receive has read, where its bytes don't join those before: behind the last one comes the FIN, which has a
 * number too, and is read with it if it is there. That it is there has to be looked at before `rcv_nxt`: in the other order what comes
 * meanwhile looks as if read. A connection that was reset looks ended, too, without a FIN: hence only where the bytes don't fit as
 * they are. */
static __noinline int pass_end_of_stream(struct sock *sk, const struct exchange *x, struct receive *receive)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	bool ended;

	if (x->trust == TRUST_UNKNOWN && is_first_of_stream(tcp, receive))
		return 0;
	ended = BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN;
	receive->copied_seq -= ended && receive->copied_seq == BPF_CORE_READ(tcp, rcv_nxt);
	receive->gap = x->trust != TRUST_UNKNOWN && !continues(x, receive);
	return 0;
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
		receive->length = length;
	}
	return receive;
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
		bpf_probe_read_kernel(&inode, sizeof inode, socket - bpf_core_field_offset(struct socket_alloc, socket) +
				      bpf_core_field_offset(struct socket_alloc, vfs_inode.i_ino));
	return inode;
}

/* What a connection's first receive has to tell beside its bytes. `arrival`: NULL where arrivals are not seen. */
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
		receive->first_of_stream = is_new_socket(socket_inode(sk));
	}
	describe_client(&receive->client, sk, process);
	return 0;
}

/* The client's side: a connection's first event. What a listener accepts inherits its backlog limit, or its address.
 * `server`: scratch, zero. */
static __always_inline void meet_server(struct exchange *x, struct sock *sk, __u64 inode, __u32 process, struct kiln_client_key *server)
{
	bool incoming;

	if (x->flags & MET)
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

/* ---- the hooks ---- */

/* Key: socket inode number, which no other socket takes while this one may be used: a reused descriptor is another
 * inode, a duplicated one the same; or the id of an SSL object (hook TLS). Value: what its exchange doesn't hold. Full: counted
 * as connections_without_state. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, __u64);
	__type(value, struct connection);
} inode_connections SEC(".maps");

/* A new connection's value is too large for the stack; always zero. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection);
} new_connection SEC(".maps");

/* The probes of functions first: they are loaded in the order of the file, by threads of their own while the others are (kiln_load_object). */
#include "sockets/hook_tls.bpf.h"
#include "sockets/hook_socket.bpf.h"
#include "sockets/hook_fentry.bpf.h"
#include "sockets/hook_syscall.bpf.h"

static __noinline struct connection *connection_at(const struct place *place)
{
	struct connection *c, *fresh;
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
