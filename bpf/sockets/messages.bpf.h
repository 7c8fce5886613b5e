/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where the bytes of a receive or send lie, by the iterator of the message that the protocol was called with.
 *
 * When the call returns, the iterator has moved on by what was taken; what it points to is still there, so that its beginning can be
 * found backwards. Hence nothing has to be kept from the call's entry to its return, between which it may sleep. */
#ifndef KILN_MESSAGES_BPF_H
#define KILN_MESSAGES_BPF_H

#include "common/bpf.h"
#include "requests/sync.bpf.h"
#include "requests/variant.h"
#include "sockets/calls.bpf.h"

enum message_form {
	MESSAGE_BYTES, /* in one piece */
	MESSAGE_PIECES,
	MESSAGE_UNKNOWN, /* pages (fixed buffers of io_uring, splice), memory of the kernel */
	MESSAGE_UNREADABLE,
};

struct message_place {
	__u64 address; /* of the bytes, or of the iovec after the last one that is used up */
	__u64 before;  /* of bytes in pieces: how many lie in the iovecs before `address` */
};

static __always_inline bool is_iterator_of(const struct iov_iter *iterator, bool user_buffer)
{
	if (!user_buffer)
		return iterator->iter_type == bpf_core_enum_value(enum iter_type, ITER_IOVEC);
	return bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
		iterator->iter_type == bpf_core_enum_value(enum iter_type, ITER_UBUF);
}

/* Find what a call moved that was asked to move `size` bytes. */
static __always_inline enum message_form locate_message(const struct msghdr *message, __u64 size, struct message_place *place)
{
	const struct iov_iter *iterator = &message->msg_iter;
	const struct iov_iter___6_3 *former = (const void *)iterator;
	__u64 offset = iterator->iov_offset, moved = size - iterator->count, position = 0;
	struct iovec piece = {};

	if (!moved)
		return MESSAGE_UNKNOWN;
	if (bpf_core_field_exists(iterator->__iov))
		bpf_core_read(&position, sizeof position, &iterator->__iov);
	else
		bpf_core_read(&position, sizeof position, &former->iov);
	if (is_iterator_of(iterator, true)) {
		place->address = position + offset - moved;
		return MESSAGE_BYTES;
	}
	if (!is_iterator_of(iterator, false))
		return MESSAGE_UNKNOWN;
	if (!offset)
		position -= sizeof piece; /* the one before was just used up */
	if (bpf_probe_read_kernel(&piece, sizeof piece, (void *)position))
		return MESSAGE_UNREADABLE;
	if (!offset)
		offset = piece.length;
	if (moved <= offset) {
		place->address = piece.base + offset - moved;
		return MESSAGE_BYTES;
	}
	place->address = position;
	place->before = moved - offset;
	return MESSAGE_PIECES;
}

static long step_back(__u32 index, struct message_place *place)
{
	struct iovec piece = {};

	place->address -= sizeof piece;
	if (bpf_probe_read_kernel(&piece, sizeof piece, (void *)place->address))
		return 1;
	place->before -= piece.length;
	/* Below 0: the call itself began in the middle of a piece. */
	return (__s64)place->before <= 0;
}

/* From the iovec after the last one back to the first. */
static __always_inline enum io_form find_first_piece(struct message_place *place)
{
	bpf_loop(IOVECS_MAX, step_back, place, 0);
	return place->before ? IO_UNKNOWN : IO_KERNEL_VECTORS;
}

/* As receive_loss(), for a receive that was asked for `size` bytes. */
static __always_inline int message_loss(const struct msghdr *message, __u64 size, struct receive *receive, bool discarded)
{
	struct message_place place = {};

	if (discarded && receive->tcp)
		return 1 + KILN_LOST_DISCARDED_RECEIVES;
	switch (locate_message(message, size, &place)) {
	case MESSAGE_BYTES:
		receive->io.base = place.address;
		return 0;
	case MESSAGE_PIECES:
		if (!CLIENT_SIDE)
			return 1 + KILN_LOST_SPLIT_RECEIVES;
		receive->io.form = find_first_piece(&place);
		receive->io.base = place.address;
		return receive->io.form == IO_UNKNOWN ? 1 + KILN_LOST_SPLIT_RECEIVES : 0;
	case MESSAGE_UNREADABLE:
		return 1 + KILN_LOST_UNREADABLE_BUFFERS;
	default:
		return 1 + KILN_LOST_UNSUPPORTED_RECEIVES;
	}
}

/* As describe_send(), for a send that was asked to take `size` bytes. */
static __always_inline void describe_message_send(const struct msghdr *message, __u64 size, struct io *send, __u32 sent)
{
	struct message_place place = {};

	send->length = sent;
	send->in_part = sent < size || sent >= REPLY_CHUNK;
	switch (locate_message(message, size, &place)) {
	case MESSAGE_BYTES:
		send->form = IO_BYTES;
		break;
	case MESSAGE_PIECES:
		send->form = find_first_piece(&place);
		break;
	default:
		send->form = IO_UNKNOWN;
	}
	send->base = place.address;
}

#endif
