/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the arguments of a system call say of a receive or a send: where its bytes are, and how many were asked for. */
#ifndef KILN_CALLS_BPF_H
#define KILN_CALLS_BPF_H

#include "common/system_calls.bpf.h"
#include "requests/variant.h"
#include "requests/sync.bpf.h"

#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define IOVECS_AT_ONCE 8
/* A send of this size or more may be a piece of a response: servers send from buffers of 16 KiB (redis before 7.0) and more. */
#define REPLY_CHUNK (16 << 10)

/* System calls of x86-64. */
enum {
	NR_read = 0,
	NR_write = 1,
	NR_readv = 19,
	NR_writev = 20,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
	NR_recvmmsg = 299,
	NR_sendmmsg = 307,
};

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
	receive->io.base = first.base;
	if (receive->io.length <= first.length)
		return 0;
	if (!CLIENT_SIDE)
		return 1 + KILN_LOST_SPLIT_RECEIVES;
	receive->io.base = vectors;
	receive->io.form = IO_VECTORS;
	return 0;
}

/* What keeps a receive from being followed, whatever its buffer; the same numbers. */
static __always_inline int receive_loss(const struct pt_regs *regs, struct receive *receive, bool compat, bool discarded)
{
	if (compat)
		return 1 + KILN_LOST_UNSUPPORTED_RECEIVES;
	if (discarded && receive->tcp)
		return 1 + KILN_LOST_DISCARDED_RECEIVES;
	receive->io.base = regs->si;
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
		vectors->sum += list[i].length; /* 0 behind the last one */
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

/* Where the bytes of a send lie. `trusted`: its connection's replies are followed. Then only an observer asks whether they were sent in part. */
static __always_inline void describe_send(const struct pt_regs *regs, struct io *send, __u32 sent, bool trusted)
{
	__u64 requested = sent;

	send->length = sent;
	send->base = regs->si;
	switch (regs->orig_ax) {
	case NR_write:
	case NR_sendto:
		send->form = IO_BYTES;
		if (observes_partial_sends() || !trusted)
			requested = regs->dx;
		break;
	case NR_writev:
		send->form = IO_VECTORS;
		break;
	case NR_sendmsg:
		send->form = IO_MESSAGE;
		break;
	default:
		send->form = IO_UNKNOWN;
	}
	if (!trusted && (send->form == IO_VECTORS || send->form == IO_MESSAGE))
		requested = requested_bytes(regs->orig_ax, regs->si, regs->dx, sent);
	if (observes_partial_sends() || !trusted)
		send->in_part = sent < requested || sent >= REPLY_CHUNK;
}

#endif
