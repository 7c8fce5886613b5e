/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hook fentry: the returns of the functions by which TCP and unix sockets receive and send (fexit), for kernels without the
 * tracepoints of hook socket. What it sees it treats as that one does, and keeps in the same maps.
 *
 * Every way to receive passes here: also io_uring, recvmmsg and 32-bit programs. Other protocols (MPTCP, vsock) and
 * TLS in the kernel have functions of their own and aren't seen at all. */
#ifndef KILN_HOOK_FENTRY_BPF_H
#define KILN_HOOK_FENTRY_BPF_H

#include "common/bpf.h"
#include "sockets/hook_socket.bpf.h"

static __always_inline bool begin_receive(struct sock *sk)
{
	if (target_index(bpf_get_current_pid_tgid() >> 32) < 0)
		return false;
	return claim_cpu(find_connection(sk->__sk_common.skc_cookie.counter));
}

/* Any process may send, if a target receives from the socket; on the client's side only targets. */
static __always_inline bool begin_send(struct sock *sk)
{
	struct connection *x = find_connection(sk->__sk_common.skc_cookie.counter);

	if (CLIENT_SIDE ? target_index(bpf_get_current_pid_tgid() >> 32) < 0 : !x)
		return false;
	return claim_cpu(x);
}

/* tcp_recvmsg(sk, message, size, flags, address_length); before Linux 5.19 (ec095263a965) `nonblock` comes before the flags. The
 * verifier refuses arguments that a function doesn't have, so they are asked for by number. */
SEC("fexit/tcp_recvmsg")
int BPF_PROG(fentry_tcp_receive, struct sock *sk, struct msghdr *message, __u64 size)
{
	__u64 flags = 0, ret = 0;

	if (!begin_receive(sk))
		return 0;
	bpf_get_func_arg(ctx, bpf_get_func_arg_cnt(ctx) > 5 ? 4 : 3, &flags);
	bpf_get_func_ret(ctx, &ret);
	receive_at_socket(sk, bpf_skc_to_tcp_sock(sk), ret, flags, (struct call){ true, message, size });
	release_cpu();
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(fentry_unix_receive, struct socket *socket, struct msghdr *message, __u64 size, int flags, int ret)
{
	if (!begin_receive(socket->sk))
		return 0;
	receive_at_socket(socket->sk, NULL, ret, flags, (struct call){ true, message, size });
	release_cpu();
	return 0;
}

SEC("fexit/tcp_sendmsg")
int BPF_PROG(fentry_tcp_send, struct sock *sk, struct msghdr *message, __u64 size, int ret)
{
	if (!begin_send(sk))
		return 0;
	send_at_socket(sk, bpf_skc_to_tcp_sock(sk), ret, (struct call){ true, message, size });
	release_cpu();
	return 0;
}

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(fentry_unix_send, struct socket *socket, struct msghdr *message, __u64 size, int ret)
{
	if (!begin_send(socket->sk))
		return 0;
	send_at_socket(socket->sk, NULL, ret, (struct call){ true, message, size });
	release_cpu();
	return 0;
}

/* Where Linux 6.3 has the tracepoint sk_data_ready. */
SEC("fentry/sock_def_readable")
int BPF_PROG(fentry_data, struct sock *sk)
{
	return data_at_socket(sk, bpf_skc_to_tcp_sock(sk));
}

#endif
