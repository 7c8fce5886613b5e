/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hook syscall: tp_btf sys_exit sees each receive and send when its system call returns, for every process of the host.
 * Connections by the socket's inode number, what is large in a hash.
 *
 * io_uring isn't seen, nor when data arrives. A descriptor that is duplicated, closed and reused makes this hook take up the
 * duplicate's connection anew. */
#ifndef KILN_HOOK_SYSCALL_BPF_H
#define KILN_HOOK_SYSCALL_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "sockets/calls.bpf.h"
#include "sockets/first_receive.bpf.h"
#include "sockets/tls.bpf.h"

struct descriptor {
	__u32 process;
	__u32 fd;
};

/* Key: descriptor; value: the inode it last stood for. Its only use: when a descriptor stands for another socket, the
 * former one's connection is dropped, so that connections closed without a last receive don't stay for ever. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, struct descriptor);
	__type(value, __u64);
} descriptors SEC(".maps");

struct open_socket {
	__u64 inode;
	struct sock *sk;
};

/* The socket behind a descriptor of the current task; false: it is not one. */
static __always_inline bool find_socket(struct task_struct *task, __u32 fd, struct open_socket *found)
{
	struct fdtable *table = task->files->fdt;
	struct file **files = table->fd, *file = NULL;
	struct inode *inode;
	struct socket *socket;

	if (fd >= table->max_fds || bpf_probe_read_kernel(&file, sizeof file, files + fd) || !file)
		return false;
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return false;
	socket = BPF_CORE_READ(file, private_data);
	found->inode = BPF_CORE_READ(inode, i_ino);
	found->sk = BPF_CORE_READ(socket, sk);
	return found->sk != NULL;
}

/* The connection behind a descriptor, made if there is none. What the descriptor stood for before is dropped. */
static __noinline struct connection *open_connection(__u64 inode, __u32 process, __u32 fd)
{
	struct descriptor descriptor = { process, fd };
	__u64 *former = bpf_map_lookup_elem(&descriptors, &descriptor);
	struct connection *x;

	if (former && *former != inode) {
		x = find_connection(*former);
		if (x)
			free_connection(x);
		bpf_map_delete_elem(&inode_connections, former);
	}
	bpf_map_update_elem(&descriptors, &descriptor, &inode, BPF_ANY);
	return make_connection(inode);
}

static __always_inline void syscall_receive(struct task_struct *task, struct pt_regs *regs, long ret, __u32 process)
{
	struct receive *receive;
	struct open_socket socket;
	struct place place = {};
	struct connection *x;
	struct sock *sk;
	__u16 family;
	/* recvfrom(fd, buffer, length, flags, ...) and recvmsg(fd, message, flags) */
	__u64 flags = regs->orig_ax == NR_recvfrom ? regs->r10 : regs->orig_ax == NR_recvmsg ? regs->dx : 0;

	if (flags & (MSG_PEEK | MSG_ERRQUEUE) || !find_socket(task, regs->di, &socket) || (CLIENT_SIDE && !is_stream(socket.sk)))
		return;
	if (ret > 0 && leaves_out(socket.inode) && !inside_tls_call(task)) {
		leave_out(task, process, 0);
		return;
	}
	on_system_call((__u64)socket.sk, regs->di);
	receive = new_receive(ret);
	if (!receive)
		return;
	receive->io.returned_ns = bpf_ktime_get_ns();
	place.id = socket.inode;
	x = find_connection(socket.inode);
	if (ret == 0) {
		if (x)
			free_connection(x);
		return;
	}
	if (!x)
		x = open_connection(socket.inode, process, regs->di);
	if (!x) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		return;
	}
	sk = socket.sk;
	if (CLIENT_SIDE)
		meet_server(x, sk, socket.inode, process, &receive->client);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	receive->tcp = is_tcp(family, BPF_CORE_READ(sk, sk_protocol));
	if (receive->tcp) {
		receive->copied_seq = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
		if (x->sync == SYNC_UNKNOWN || !continues(x, receive))
			pass_end_of_stream(sk, x, receive);
	}
	if (x->sync == SYNC_UNKNOWN)
		describe_first_receive(sk, NULL, receive, process);
	receive->io.loss = receive_loss(regs, receive, false, flags & MSG_TRUNC);
	stream_receives(&place, x, receive, task, process, false);
}

static __always_inline void syscall_send(struct task_struct *task, struct pt_regs *regs, long ret, __u32 process)
{
	struct open_socket socket;
	struct place place = {};
	struct receive *scratch;
	struct connection *x;
	struct io *send;
	struct sock *sk;

	if (!find_socket(task, regs->di, &socket))
		return;
	on_system_call((__u64)socket.sk, regs->di);
	place.id = socket.inode;
	x = find_connection(socket.inode);
	if (leaves_out_send(x) && !inside_tls_call(task)) {
		leave_out_send(task, 0);
		return;
	}
	scratch = new_receive(0);
	if (!scratch)
		return;
	if (CLIENT_SIDE && is_stream(socket.sk)) {
		if (!x)
			x = open_connection(socket.inode, process, regs->di);
		if (x)
			meet_server(x, socket.sk, socket.inode, process, &scratch->client);
		else
			lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
	}
	if (!x)
		return;
	if (regs->orig_ax == NR_sendmmsg) {
		if (CLIENT_SIDE) {
			client_misses(x);
		} else if (x->sync == SYNCED && !(x->flags & UNMATCHED)) {
			lose(KILN_LOST_UNSUPPORTED_SENDS, 1);
			lose_match(x);
		}
		return;
	}
	/* Not on the stack: the functions below take nearly all of it. */
	send = &scratch->io;
	send->returned_ns = bpf_ktime_get_ns();
	describe_send(regs, send, ret, x->sync == SYNCED);
	sk = socket.sk;
	if (is_tcp(BPF_CORE_READ(sk, __sk_common.skc_family), BPF_CORE_READ(sk, sk_protocol))) {
		struct tcp_sock *tcp = (struct tcp_sock *)sk;

		send->began_ns = send_begin(BPF_CORE_READ(tcp, tcp_clock_cache), BPF_CORE_READ(tcp, tcp_wstamp_ns));
	}
	stream_sends(&place, x, send, task, false);
}

/* Calls of i386 that may receive: read, socketcall, readv, recvfrom, recvmsg. Reads of files are among them. */
static __always_inline bool is_compat_receive(__u64 number)
{
	return number == 3 || number == 102 || number == 145 || number == 371 || number == 372;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscall_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);

	if (process < 0 || ret < 0)
		return 0;
	if (task->thread_info.status & TS_COMPAT) {
		if (is_compat_receive(regs->orig_ax) && ret > 0)
			lose(KILN_LOST_UNSUPPORTED_RECEIVES, 1);
		return 0;
	}
	switch (regs->orig_ax) {
	case NR_recvmmsg:
		if (ret > 0)
			lose(KILN_LOST_UNSUPPORTED_RECEIVES, ret);
		break;
	case NR_read:
	case NR_readv:
	case NR_recvfrom:
	case NR_recvmsg:
		syscall_receive(task, regs, ret, process);
		break;
	case NR_write:
	case NR_writev:
	case NR_sendto:
	case NR_sendmsg:
	case NR_sendmmsg:
		if (ret > 0)
			syscall_send(task, regs, ret, process);
		break;
	default:
		note_turn(task, process, regs);
	}
	return 0;
}

#endif
