/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hook fentry: the returns of the functions by which TCP and unix sockets receive and send (fexit), for kernels without the
 * tracepoints of hook socket. What it sees it treats as that one does, and keeps in the same maps.
 *
 * Whoever receives, and however, comes by here: also io_uring, recvmmsg and 32-bit programs. Other protocols (MPTCP, vsock) and
 * TLS in the kernel have functions of their own and aren't seen at all. */
#ifndef KILN_HOOK_FENTRY_BPF_H
#define KILN_HOOK_FENTRY_BPF_H

/* Held by the one that runs on this CPU. Tracepoints run with preemption off, these programs need not: on kernels with full
 * preemption another thread's would count into the same CPU's values, and parse in its scratch. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} running SEC(".maps");

/* NULL: another one runs here, which is counted. To be set to 0 at the end. */
static __always_inline __u64 *hold_cpu(struct exchange *x)
{
	__u32 zero = 0;
	__u64 *held = bpf_map_lookup_elem(&running, &zero);

	if (!held || !__sync_lock_test_and_set(held, 1))
		return held;
	lose(KILN_LOST_PREEMPTED_CALLS, 1);
	if (x)
		distrust(x);
	return NULL;
}

static __always_inline __u64 *begin_receive(struct sock *sk)
{
	if (target_index(bpf_get_current_pid_tgid() >> 32) < 0)
		return NULL;
	return hold_cpu(find_exchange(sk->__sk_common.skc_cookie.counter));
}

/* Whoever sends, as long as a target receives from there. */
static __always_inline __u64 *begin_send(struct sock *sk)
{
	struct exchange *x = find_exchange(sk->__sk_common.skc_cookie.counter);

	return x ? hold_cpu(x) : NULL;
}

/* tcp_recvmsg(sk, message, size, flags, address_length); before Linux 5.19 (ec095263a965) `nonblock` comes before the flags. The
 * verifier refuses arguments that a function doesn't have, so they are asked for by number. */
SEC("fexit/tcp_recvmsg")
int BPF_PROG(fentry_tcp_receive, struct sock *sk, struct msghdr *message, __u64 size)
{
	__u64 *held = begin_receive(sk), flags = 0, ret = 0;

	if (!held)
		return 0;
	bpf_get_func_arg(ctx, bpf_get_func_arg_cnt(ctx) > 5 ? 4 : 3, &flags);
	bpf_get_func_ret(ctx, &ret);
	receive_at_socket(sk, bpf_skc_to_tcp_sock(sk), ret, flags, (struct call){ true, message, size });
	*held = 0;
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(fentry_unix_receive, struct socket *socket, struct msghdr *message, __u64 size, int flags, int ret)
{
	__u64 *held = begin_receive(socket->sk);

	if (!held)
		return 0;
	receive_at_socket(socket->sk, NULL, ret, flags, (struct call){ true, message, size });
	*held = 0;
	return 0;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(fentry_tcp_send, struct sock *sk, struct msghdr *message, __u64 size, int ret)
{
	__u64 *held = begin_send(sk);

	if (!held)
		return 0;
	send_at_socket(sk, bpf_skc_to_tcp_sock(sk), ret, (struct call){ true, message, size });
	*held = 0;
	return 0;
}

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(fentry_unix_send, struct socket *socket, struct msghdr *message, __u64 size, int ret)
{
	__u64 *held = begin_send(socket->sk);

	if (!held)
		return 0;
	send_at_socket(socket->sk, NULL, ret, (struct call){ true, message, size });
	*held = 0;
	return 0;
}

/* Where Linux 6.3 has the tracepoint sk_data_ready. */
SEC("fentry/sock_def_readable")
int BPF_PROG(fentry_data, struct sock *sk)
{
	return socket_becomes_readable(sk, 0);
}

#endif
