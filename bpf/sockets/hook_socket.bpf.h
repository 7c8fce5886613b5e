/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hook socket: tp_btf sock_recv_length and sock_send_length (Linux 6.3) see each receive and send, sk_data_ready when data
 * arrives, tcp_destroy_sock the end. Connections by socket cookie; what is large in socket storage.
 *
 * io_uring is counted as lost. */
#ifndef KILN_HOOK_SOCKET_BPF_H
#define KILN_HOOK_SOCKET_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "requests/turns.bpf.h"
#include "sockets/calls.bpf.h"
#include "sockets/first_receive.bpf.h"
#include "sockets/messages.bpf.h"
#include "sockets/tls.bpf.h"

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/* Scratch. Linux 6.12's verifier lets no number be taken from a pointer; what was in a map is a number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} registers_address SEC(".maps");

/* Where the saved registers lie above the stack's lowest address is the same for every task: asked for once, because
 * the helper costs as much as a map lookup. */
static __always_inline const struct pt_regs *saved_registers(struct task_struct *task)
{
	__u64 stack = (__u64)task->stack, offset = control.registers_offset, *registers;
	__u32 zero = 0;

	if (!offset) {
		registers = bpf_map_lookup_elem(&registers_address, &zero);
		if (registers) {
			*(volatile __u64 *)registers = (__u64)bpf_task_pt_regs(task);
			offset = *(volatile __u64 *)registers - stack;
			control.registers_offset = offset;
		}
	}
	return bpf_rdonly_cast((void *)(stack + offset), bpf_core_type_id_kernel(struct pt_regs));
}

/* The connection of a socket, made if there is none: NULL where there is no room. */
static __always_inline struct connection *socket_connection(struct sock *sk, __u64 cookie)
{
	struct connection *x = find_connection(cookie);

	return x ? x : make_connection(cookie ? cookie : bpf_get_socket_cookie(sk));
}

/* What a receive or a send was called with, where a hook sees that. */
struct call {
	bool is_seen; /* constant; false: use the system call's registers */
	struct msghdr *message;
	__u64 size; /* bytes that were asked for, or given */
};

/* A receive has returned. `tcp`: the socket as one of TCP, if it is that. */
static __always_inline int receive_at_socket(struct sock *sk, const struct tcp_sock *tcp, int ret, int flags, struct call call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	struct connection *x;
	struct arrival *arrival;
	struct receive *receive;
	struct place place = { .sk = sk };
	const struct pt_regs *regs = NULL;
	__u64 now;

	if (process < 0 || ret < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) || (CLIENT_SIDE && !is_stream(sk)))
		return 0;
	if (may_leave_out() && ret > 0) {
		if (!cookie)
			cookie = bpf_get_socket_cookie(sk);
		if (leaves_out(cookie) && !inside_tls_call(task)) {
			leave_out(task, process, 0);
			return 0;
		}
	}
	now = tcp ? tcp_copied(tcp) : bpf_ktime_get_ns();
	receive = new_receive(ret);
	if (!receive)
		return 0;
	receive->io.returned_ns = now;
	receive->tcp = tcp != NULL;
	if (ret == 0) {
		/* The end of the stream. A TCP connection is freed with its socket. */
		x = tcp ? NULL : find_connection(cookie);
		if (x)
			free_connection(x);
		return 0;
	}
	x = socket_connection(sk, cookie);
	if (!x) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		return 0;
	}
	if (CLIENT_SIDE)
		meet_server(x, sk, socket_inode(sk), process, &receive->client);
	/* By a number that is at hand: then both tables are looked into at once. */
	arrival = find_arrival(cookie ? cookie : x->id);
	if (tcp) {
		receive->copied_seq = tcp->copied_seq;
		if (x->sync == SYNC_UNKNOWN || !continues(x, receive))
			pass_end_of_stream(sk, x, receive);
		receive->io.arrived_ns = tcp_arrival(arrival, receive->copied_seq - ret);
	} else {
		receive->io.arrived_ns = take_unix_arrival(arrival);
		if (sk->sk_receive_queue.qlen)
			forget_unix_arrival(arrival);
	}
	if (x->sync == SYNC_UNKNOWN)
		describe_first_receive(sk, arrival, receive, process);
	if (!call.is_seen)
		regs = saved_registers(task);
	on_call_seen(&place, regs);
	receive->io.loss = call.is_seen ? message_loss(call.message, call.size, receive, flags & MSG_TRUNC)
					: receive_loss(regs, receive, task->thread_info.status & TS_COMPAT, flags & MSG_TRUNC);
	stream_receives(&place, x, receive, task, process, call.is_seen);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(socket_receive, struct sock *sk, int ret, int flags)
{
	const struct tcp_sock *tcp = NULL;

	if (is_tcp(sk->__sk_common.skc_family, sk->sk_protocol))
		tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	return receive_at_socket(sk, tcp, ret, flags, (struct call){ 0 });
}

/* A send has returned; likewise. */
static __always_inline int send_at_socket(struct sock *sk, const struct tcp_sock *tcp, int ret, struct call call)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	struct task_struct *task;
	struct connection *x;
	struct io on_stack = {}, *send = &on_stack;
	const struct pt_regs *regs = NULL;
	struct receive *scratch;
	struct place place = { .sk = sk };
	int process = -1; /* on the client's side alone is that asked */

	/* Any process may send, if a target receives from the socket: such a socket has a cookie. Others have one if a program asked for it (`ss`). */
	if (ret <= 0 || (!CLIENT_SIDE && !cookie))
		return 0;
	task = bpf_get_current_task_btf();
	if (CLIENT_SIDE) {
		process = target_index(task->tgid);
		if (process < 0 || !is_stream(sk))
			return 0;
	}
	if (CLIENT_SIDE || call.is_seen) {
		/* What comes below takes nearly all of the stack. */
		scratch = new_receive(0);
		if (!scratch)
			return 0;
		send = &scratch->io;
	}
	/* First of all: reading the clock waits for all that is being fetched, and most of what comes is not in the nearest cache. */
	send->returned_ns = bpf_ktime_get_ns();
	if (CLIENT_SIDE) {
		x = socket_connection(sk, cookie);
		if (x)
			meet_server(x, sk, socket_inode(sk), process, &scratch->client);
		else
			lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
	} else {
		x = find_connection(cookie);
	}
	if (leaves_out_send(x) && !inside_tls_call(task)) {
		leave_out_send(task, tcp ? send_begin(tcp->tcp_clock_cache, tcp->tcp_wstamp_ns) : 0);
		return 0;
	}
	if (!x)
		return 0;
	if (call.is_seen) {
		describe_message_send(call.message, call.size, send, ret);
	} else {
		regs = saved_registers(task);
		describe_send(regs, send, ret, x->sync == SYNCED);
	}
	on_call_seen(&place, regs);
	if (tcp)
		send->began_ns = send_begin(tcp->tcp_clock_cache, tcp->tcp_wstamp_ns);
	stream_sends(&place, x, send, task, call.is_seen);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_send, struct sock *sk, int ret, int flags)
{
	const struct tcp_sock *tcp = NULL;

	if (is_tcp(sk->__sk_common.skc_family, sk->sk_protocol))
		tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	return send_at_socket(sk, tcp, ret, (struct call){ 0 });
}

/* In the interrupt that brings the data, for every socket of the host: before the first receive there is no connection. */
static __always_inline int data_at_socket(const struct sock *sk, const struct tcp_sock *tcp)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	if (!cookie || leaves_out_arrival(cookie))
		return 0;
	/* TCP reads its clock when it begins to handle a segment (tcp_mstamp_refresh). */
	if (tcp)
		tcp_data_arrives(cookie, tcp->copied_seq, tcp->rcv_nxt, tcp->tcp_clock_cache);
	else if (sk->__sk_common.skc_family == AF_UNIX && sk->sk_receive_queue.qlen) /* a reader may have been faster than this */
		unix_data_arrives(cookie);
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(socket_data, const struct sock *sk)
{
	const struct tcp_sock *tcp = NULL;

	if (is_tcp(sk->__sk_common.skc_family, sk->sk_protocol))
		tcp = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
	return data_at_socket(sk, tcp);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(socket_end, struct sock *sk)
{
	struct connection *x = find_connection(sk->__sk_common.skc_cookie.counter);

	if (x)
		free_connection(x);
	return 0;
}

#endif
