/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hook socket: tp_btf sock_recv_length and sock_send_length (Linux 6.3) see each receive and send, sk_data_ready when data
 * arrives, tcp_destroy_sock the end. Connections by socket cookie; what is large in socket storage.
 *
 * io_uring is counted as lost. */
#ifndef KILN_HOOK_SOCKET_BPF_H
#define KILN_HOOK_SOCKET_BPF_H

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/* Key: socket; value: what its exchange doesn't hold. Charged to the socket's option memory, freed with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} socket_connections SEC(".maps");

/* Where the saved registers lie above the stack's lowest address is the same for every task: asked for once, because
 * the helper costs as much as a map lookup. */
static __always_inline const struct pt_regs *saved_registers(struct task_struct *task)
{
	__u64 stack = (__u64)task->stack, offset = control.registers_offset;

	if (!offset) {
		offset = (__u64)bpf_task_pt_regs(task) - stack;
		control.registers_offset = offset;
	}
	return bpf_rdonly_cast((void *)(stack + offset), bpf_core_type_id_kernel(struct pt_regs));
}

static __always_inline __u64 socket_inode(struct sock *sk)
{
	__u64 inode = 0;
	char *socket = (char *)sk->sk_socket;

	if (socket)
		bpf_probe_read_kernel(&inode, sizeof inode, socket - bpf_core_field_offset(struct socket_alloc, socket) +
				      bpf_core_field_offset(struct socket_alloc, vfs_inode) +
				      bpf_core_field_offset(struct inode, i_ino));
	return inode;
}

/* The exchange of a socket, made if there is none: NULL where there is no room. */
static __always_inline struct exchange *socket_exchange(struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	struct exchange *x = find_exchange(cookie);

	if (x)
		return x;
	if (!cookie)
		cookie = bpf_get_socket_cookie(sk);
	return make_exchange(cookie);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(socket_receive, struct sock *sk, int ret, int flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	struct exchange *x;
	struct arrival *arrival;
	struct receive *receive;
	struct place place = { sk, 0 };
	const struct pt_regs *regs;

	if (process < 0 || ret < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	receive = new_receive(ret);
	if (!receive)
		return 0;
	receive->tcp = is_tcp(sk->__sk_common.skc_family, sk->sk_protocol);
	if (ret == 0) {
		/* The end of the stream. TCP tells when the socket goes. */
		x = receive->tcp ? NULL : find_exchange(sk->__sk_common.skc_cookie.counter);
		if (x)
			free_exchange(x);
		return 0;
	}
	x = socket_exchange(sk);
	if (!x) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		return 0;
	}
	arrival = find_arrival(x->id);
	receive->arrived_ns = take_arrival(arrival);
	if (receive->tcp) {
		const struct tcp_sock *tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
		__u32 unread = tcp->rcv_nxt - tcp->copied_seq;

		receive->copied_seq = tcp->copied_seq;
		if (unread)
			forget_arrival(arrival);
		if (x->trust == TRUST_UNKNOWN) {
			receive->first_of_stream = (__u32)tcp->bytes_received - unread == (__u32)ret;
			/* A listener's backlog limit is inherited by what it accepts; connect() sets none. */
			receive->incoming = sk->sk_max_ack_backlog != 0;
		}
	} else if (sk->sk_receive_queue.qlen) {
		forget_arrival(arrival);
	}
	if (x->trust == TRUST_UNKNOWN && !receive->tcp && sk->__sk_common.skc_family != AF_UNIX) {
		receive->unsupported = sk->sk_type == SOCK_STREAM;
	} else if (x->trust == TRUST_UNKNOWN && !receive->tcp) {
		const struct unix_sock *named = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct unix_sock));

		/* What a listener accepts inherits its address; who connects has none. */
		receive->incoming = named->addr != NULL;
		receive->first_of_stream = is_new_socket(socket_inode(sk));
	}
	if (x->trust == TRUST_UNKNOWN)
		describe_client(&receive->client, sk, process);
	regs = saved_registers(task);
	if (trace.enabled) {
		receive->socket = (__u64)sk;
		receive->fd = regs->di;
	}
	receive->loss = receive_loss(regs, receive, task->thread_info.status & TS_COMPAT, flags & MSG_TRUNC);
	connection_receives(&place, x, receive, task, process);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_send, struct sock *sk, int ret, int flags)
{
	struct task_struct *task;
	struct exchange *x;
	struct send send = {};
	const struct pt_regs *regs;
	struct place place = { sk, 0 };

	if (ret <= 0)
		return 0;
	x = find_exchange(sk->__sk_common.skc_cookie.counter);
	if (!x)
		return 0;
	task = bpf_get_current_task_btf();
	regs = saved_registers(task);
	describe_send(regs, &send, ret, x->trust == TRUST_COUNTING);
	if (trace.enabled) {
		send.socket = (__u64)sk;
		send.fd = regs->di;
	}
	if (is_tcp(sk->__sk_common.skc_family, sk->sk_protocol)) {
		const struct tcp_sock *tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));

		send.begin_ns = send_begin(tcp->tcp_clock_cache, tcp->tcp_wstamp_ns);
	}
	connection_sends(&place, x, &send, task);
	return 0;
}

/* In the interrupt that brings the data, for every socket of the host: before the first receive there is no exchange. */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(socket_data, const struct sock *sk)
{
	/* A unix socket's reader may have been faster than this. */
	if (sk->__sk_common.skc_family != AF_UNIX || sk->sk_receive_queue.qlen)
		data_arrives(sk->__sk_common.skc_cookie.counter);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(socket_end, struct sock *sk)
{
	struct exchange *x = find_exchange(sk->__sk_common.skc_cookie.counter);

	if (x)
		free_exchange(x);
	return 0;
}

#endif
