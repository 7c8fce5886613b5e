/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hook TLS, beside one of the others: uprobes on OpenSSL's SSL_read, SSL_write and their _ex forms see what is in an encrypted
 * stream. A connection is an SSL object of a process; SSL_new and SSL_clear begin its stream, SSL_free ends it.
 *
 * A receive is the return of SSL_read. A send is the return of SSL_write, which calls the socket's sends itself; its time is
 * the return of the last one of them, because what is handed over to the kernel is handed over there.
 *
 * Only SSL objects that read and write their socket themselves (SSL_set_fd) are followed: behind a memory BIO neither the
 * client nor the hand-over can be known. Early data (SSL_read_early_data), SSL_peek and SSL_sendfile are not seen. */
#ifndef KILN_HOOK_TLS_BPF_H
#define KILN_HOOK_TLS_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "sockets/calls.bpf.h"
#include "sockets/first_receive.bpf.h"
#include "sockets/tls.bpf.h"

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

/* These programs switch preemption off (Linux 6.15; from 6.10 on the verifier refuses it where global functions are called), or
 * claim the CPU. Both sides of the test are constant when the verifier runs. */
static __always_inline bool take_cpu(struct connection *x)
{
	if (tls.claims)
		return claim_cpu(x);
	bpf_preempt_disable();
	return true;
}

static __always_inline void give_cpu(void)
{
	if (tls.claims)
		release_cpu();
	else
		bpf_preempt_enable();
}

static __always_inline __u64 ssl_id(__u32 process, __u64 ssl)
{
	return TLS_ID | (__u64)process << TLS_PROCESS_SHIFT | ssl;
}

SEC("uprobe")
int tls_call_begins(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	__u64 fourth = regs->cx, fifth = regs->r8;
	struct tls_call *call;

	/* Both are loaded: the verifier takes no offset into the registers that depends on something. */
	barrier_var(fourth);
	barrier_var(fifth);
	if (process < 0)
		return 0;
	call = bpf_task_storage_get(&tls_calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		return 0;
	}
	if (may_leave_out())
		control.watch.has_tls = true;
	call->function = bpf_get_attach_cookie(regs);
	call->buffer = regs->si;
	call->requested = regs->dx;
	if (call->function == KILN_TLS_READ || call->function == KILN_TLS_WRITE)
		call->requested = (__u32)call->requested;
	call->count_at = call->function == KILN_TLS_WRITE_EX2 ? fifth : fourth;
	call->arrived_ns = 0;
	call->sent_ns = 0;
	call->receives = 0;
	call->entered_ns = bpf_ktime_get_ns();
	call->id = ssl_id(process, regs->di);
	if (call->function != KILN_TLS_HANDSHAKE)
		work_is_inside(task, process,
			call->function == KILN_TLS_READ || call->function == KILN_TLS_READ_EX ? KILN_CALL_RECEIVE : KILN_CALL_SEND);
	return 0;
}

/* The bytes that a call has read or written, by what it returned. */
__noinline __u32 call_bytes(const struct tls_call *call, int returned)
{
	__u64 bytes = 0;

	if (!call || returned <= 0)
		return 0;
	if (call->function == KILN_TLS_READ || call->function == KILN_TLS_WRITE)
		return returned;
	if (bpf_probe_read_user(&bytes, sizeof bytes, (void *)call->count_at))
		lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
	return bytes;
}

SEC("uretprobe")
int tls_read_ends(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	struct tls_call *call = process < 0 ? NULL : current_call(task);
	__u32 bytes = call ? call_bytes(call, regs->ax) : 0;
	struct receive *receive;
	struct place place = {};
	struct connection *x;

	if (!call)
		return 0;
	place.id = call->id;
	call->id = 0;
	work_is_inside(task, process, KILN_CALL_NONE);
	if (!bytes)
		return 0;
	if (leaves_out(place.id)) {
		leave_out(task, process, 0);
		return 0;
	}
	x = find_connection(place.id);
	if (!x || !(x->flags & PEER_KNOWN)) {
		/* Begun before the session and read ahead, or behind a memory BIO. While not all is attached there is no session yet. */
		if (x)
			clear_flags(x, STREAM_START);
		if (is_armed())
			lose(KILN_LOST_UNSYNCHRONISED_BYTES, bytes);
		return 0;
	}
	if (!take_cpu(x))
		return 0;
	receive = &call->receive;
	__builtin_memset(receive, 0, __builtin_offsetof(struct receive, times));
	receive->io.base = call->buffer;
	receive->io.length = bytes;
	receive->io.returned_ns = bpf_ktime_get_ns();
	receive->carried = true;
	receive->io.began_ns = call->entered_ns;
	receive->io.arrived_ns = call->receives ? call->arrived_ns : 0;
	receive->incoming = !(x->flags & OUTGOING);
	receive->first_of_stream = !is_sampled() && x->flags & STREAM_START;
	on_carried_call(place.id, &receive->client, process);
	side_receives(&place, x, receive, task, process);
	give_cpu();
	return 0;
}

SEC("uretprobe")
int tls_write_ends(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	struct tls_call *call = process < 0 ? NULL : current_call(task);
	__u32 bytes = call ? call_bytes(call, regs->ax) : 0;
	struct place place = {};
	struct connection *x;
	struct io *send;

	if (!call)
		return 0;
	place.id = call->id;
	call->id = 0;
	work_is_inside(task, process, KILN_CALL_NONE);
	x = bytes ? find_connection(place.id) : NULL;
	if (!x || !(x->flags & PEER_KNOWN) || leaves_out_send(x) ||
		!take_cpu(x)) /* what isn't watched has ended the execution at its socket */
		return 0;
	/* Not on the stack: the functions below take nearly all of it. */
	send = &call->receive.io;
	*send = (struct io){
		.base = call->buffer,
		.began_ns = call->entered_ns,
		.returned_ns = call->sent_ns,
		.length = bytes,
		.form = IO_BYTES,
		.in_part = bytes < call->requested || bytes >= REPLY_CHUNK,
	};
	on_carried_call(place.id, &call->receive.client, process);
	side_sends(&place, x, send, task);
	give_cpu();
	return 0;
}

SEC("uretprobe")
int tls_handshake_ends(struct pt_regs *regs)
{
	struct tls_call *call = current_call(bpf_get_current_task_btf());

	if (call)
		call->id = 0;
	return 0;
}

/* Nothing is known of the SSL object any more. */
static __always_inline void forget_ssl(__u64 id)
{
	struct connection *x = find_connection(id);

	if (x)
		free_connection(x);
	bpf_map_delete_elem(&inode_connections, &id);
	on_carrier_ended(id);
}

/* A stream begins or ends: the return of SSL_new, the entry of SSL_clear and of SSL_free. */
SEC("uprobe")
int tls_stream_turns(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	__u64 function = bpf_get_attach_cookie(regs), ssl = regs->di, made = regs->ax, id;
	struct connection *x;

	barrier_var(ssl); /* both are loaded, as above */
	barrier_var(made);
	if (function == KILN_TLS_NEW)
		ssl = made;
	if (process < 0 || !ssl)
		return 0;
	id = ssl_id(process, ssl);
	forget_ssl(id);
	if (function == KILN_TLS_FREE)
		return 0;
	x = make_connection(id);
	if (x)
		set_flags(x, STREAM_START);
	else
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
	return 0;
}

#endif
