/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A TLS connection has two entries in `connections`: the socket, which carries encrypted bytes and gives only times, and OpenSSL's SSL object,
 * whose receives and sends are those of SSL_read and SSL_write.
 *
 * Which socket carries an SSL object is seen while a thread is inside a call of OpenSSL: what it receives then, that call
 * makes it receive. Here is what the hooks of sockets do with a connection that may be encrypted; hook_tls.bpf.h has the calls. */
#ifndef KILN_TLS_BPF_H
#define KILN_TLS_BPF_H

#include "common/bpf.h"
#include "include/kiln_tls.h"
#include "requests/client.bpf.h"
#include "sockets/preemption.bpf.h"

#define TLS_PROCESS_SHIFT 58 /* an address of user space has at most 57 bits */

const volatile struct kiln_tls tls SEC(".rodata.tls");

/* What a thread does inside OpenSSL. */
struct tls_call {
	__u64 id;        /* of the SSL object's connection; 0: the thread is in no call */
	__u64 buffer;    /* user address of the bytes */
	__u64 requested; /* how many, at most */
	__u64 count_at;  /* where an _ex function notes how many */
	__u64 entered_ns;
	__u64 arrived_ns;       /* as in struct receive: of what the call received first */
	__u64 sent_ns;          /* return of the socket's last send in this call; 0: none was */
	__u32 receives;         /* of the socket in this call */
	__u32 function;         /* enum kiln_tls_function */
	struct receive receive; /* scratch of this thread alone */
};

/* Value: the thread's call. Written when a call begins; goes with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

/* The call that this thread is in, or NULL. */
static __always_inline struct tls_call *current_call(struct task_struct *task)
{
	struct tls_call *call = bpf_task_storage_get(&tls_calls, task, NULL, 0);

	return call && call->id ? call : NULL;
}

/* A socket inside of a call of OpenSSL is followed if the SSL object is, which is decided when that call ends. */
static __always_inline bool inside_tls_call(struct task_struct *task)
{
	return tls.followed && control.watch.has_tls && current_call(task);
}

/* Also one that is ignored: what is encrypted is taken for another protocol where the call that makes a thread receive or send it began before
 * the programs were attached, or reads by a function that they don't see. */
static __always_inline bool may_carry_tls(const struct connection *x)
{
	return tls.followed && (x->flags & CARRIES_TLS || x->sync != SYNCED);
}

/* What a socket receives or sends inside a call: the socket carries the call's SSL object. */
__noinline int tls_binds(struct connection *carrier, const struct tls_call *call)
{
	struct connection *x;

	if (!carrier || !call)
		return 0;
	carrier->sync = SYNC_IGNORED;
	set_flags(carrier, CARRIES_TLS);
	x = find_connection(call->id);
	if (!x)
		x = make_connection(call->id);
	if (!x) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		return 0;
	}
	if (!(x->flags & PEER_KNOWN)) {
		x->process = carrier->process;
		x->client = carrier->client;
		set_flags(x, PEER_KNOWN | (carrier->flags & OUTGOING));
		on_carrier(call->id);
	}
	return 0;
}

/* A receive inside a call. */
__noinline int tls_carries(struct connection *carrier, struct tls_call *call, const struct receive *receive, __u32 process)
{
	if (!carrier || !call || !receive)
		return 0;
	if (carrier->sync == SYNC_UNKNOWN && !(carrier->flags & PEER_KNOWN)) {
		carrier->process = process;
		carrier->client = client_row(&receive->client);
		if (!receive->incoming)
			set_flags(carrier, OUTGOING);
	}
	/* Later receives of a call find what the first one left behind. */
	if (!call->receives++)
		call->arrived_ns = receive->io.arrived_ns;
	tls_binds(carrier, call);
	return 0;
}

/* A thread receives inside of a call of OpenSSL: what it executed has ended. */
static __always_inline void tls_receives(struct task_struct *task, __u32 process, const struct tls_call *call)
{
	struct thread_counts thread = { task->nvcsw, task->sched_info.run_delay };
	struct executor *executor = executor_of(process);

	if (executor)
		thread_receives(executor, process, task, &thread, call->entered_ns, call->entered_ns);
}

/* A receive seen at the socket: on a TLS connection it gives only the time, and ends an execution as any receive does. `claimed`: by the
 * program that calls this, a constant. */
static __always_inline void stream_receives(
	const struct place *place, struct connection *x, struct receive *receive, struct task_struct *task, __u32 process, bool claimed)
{
	struct tls_call *call = may_carry_tls(x) ? current_call(task) : NULL;

	if (tls.claims && !claimed && is_cpu_claimed(x))
		return;
	on_receive_at_socket(place, x);
	if (!call) {
		side_receives(place, x, receive, task, process);
		return;
	}
	if (!CLIENT_SIDE)
		tls_receives(task, process, call);
	tls_carries(x, call, receive, process);
}

/* A send seen at the socket, likewise. */
static __always_inline void stream_sends(
	const struct place *place, struct connection *x, const struct io *send, struct task_struct *task, bool claimed)
{
	bool may_carry = CLIENT_SIDE ? may_carry_tls(x) : tls.followed && x->flags & CARRIES_TLS;
	struct tls_call *call = may_carry ? current_call(task) : NULL;

	if (tls.claims && !claimed && is_cpu_claimed(x))
		return;
	if (!call) {
		side_sends(place, x, send, task);
		return;
	}
	if (CLIENT_SIDE)
		tls_binds(x, call);
	else
		process_sends(x, task, call->entered_ns, send->returned_ns);
	call->sent_ns = send->returned_ns;
}

#endif
