/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A receive or a send as requests/ sees it. The hooks in sockets/ fill it, whatever they saw: a socket, a system call, OpenSSL.
 *
 * Its direction is no field: each call is of one direction, which is a constant where it is made. On the server's side receives carry
 * requests and sends carry responses, on the client's side it is the other way round. */
#ifndef KILN_IO_BPF_H
#define KILN_IO_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"
#include "requests/connections.bpf.h"
#include "requests/losses.bpf.h"

#define IOVECS_MAX 1024   /* UIO_MAXIOV: no call takes more */
#define ARRIVAL_UNKNOWN 1 /* in place of a time: the arrival of the first byte was not seen */

/* Where the bytes lie. */
enum io_form {
	IO_BYTES,          /* in one piece of user memory */
	IO_VECTORS,        /* in pieces, by iovecs in user memory */
	IO_KERNEL_VECTORS, /* by iovecs in the kernel's memory */
	IO_MESSAGE,        /* by a message header in user memory */
	IO_UNKNOWN,        /* unknown */
};

struct io {
	__u64 base;        /* address of the bytes, of the iovecs, or of the message header */
	__u64 began_ns;    /* when a send began, or when the thread turned to a receive; 0: not known */
	__u64 returned_ns; /* 0: not known */
	__u64 arrived_ns;  /* a receive's first byte; at most ARRIVAL_UNKNOWN: not known */
	__u32 length;      /* bytes that were received, or that the kernel took */
	__u8 form;         /* enum io_form; of a server's receive always IO_BYTES */
	bool in_part;      /* a send that may not be the end of what is to be sent */
	__u8 loss;         /* not 0: why a receive's bytes can't be followed, as KILN_LOST_* + 1 */
	__u8 reserved;
};

/* What only a receive has: where in its stream its bytes lie, and at the first one of a connection, whose it is. */
struct receive {
	struct io io;
	__u32 copied_seq; /* tcp only: bytes read before and with this receive, as a sequence number */
	bool tcp;
	bool gap;                      /* tcp only: bytes before it were read that no receive has shown */
	bool first_of_stream;          /* proven: no byte of the stream was read before */
	bool incoming;                 /* the server accepted the connection; it did not open it */
	bool unsupported;              /* a stream, but of a transport that is not followed */
	bool carried;                  /* by TLS: the client is known, and the bytes are not encrypted */
	bool first;                    /* of its connection */
	bool resumed;                  /* its connection is taken up in its middle, see resume() */
	struct kiln_client_key client; /* at the first receive */
	/* Found out on the way, and not zero before. Here and not on the stack, because the verifier would follow each of their values into
	 * what comes after. */
	struct arrived times;
	__u16 reads; /* label of the receive itself */
	__u16 then;  /* and of what the thread does then; 0: its next event decides */
	__u32 reserved;
};

/* Whether the receive of a TCP connection begins where the last one ended that was seen. */
static __always_inline bool continues(const struct connection *x, const struct receive *receive)
{
	return x->copied_seq == receive->copied_seq - receive->io.length;
}

/* ---- pieces -------------------------------------------------------------------------------------------------- */

static __always_inline long read_vector(struct iovec *to, __u64 address, bool in_kernel)
{
	return in_kernel ? bpf_probe_read_kernel(to, sizeof *to, (void *)address) : bpf_probe_read_user(to, sizeof *to, (void *)address);
}

/* Where the iovecs lie, if there are any; 0: unreadable. */
__noinline __u64 vectors_of(const struct io *io)
{
	struct user_msghdr header = {};

	if (!io)
		return 0;
	if (io->form != IO_MESSAGE)
		return io->base;
	bpf_probe_read_user(&header, sizeof header, (void *)io->base);
	return header.iov;
}

/* What is left of an io that is followed piece by piece. */
struct io_pieces {
	void *context; /* of who follows it */
	__u64 vectors; /* the next iovec, or the only buffer */
	__u32 left;    /* bytes */
	__u32 form;    /* enum io_form */
};

/* The next piece: its length, or -1 where it can't be read. */
static __always_inline long next_piece(struct io_pieces *pieces, __u64 *base)
{
	struct iovec piece = { pieces->vectors, pieces->left };
	__u32 length;
	long failed = 0;

	if (pieces->form != IO_BYTES)
		failed = read_vector(&piece, pieces->vectors, pieces->form == IO_KERNEL_VECTORS);
	if (failed) {
		lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
		return -1;
	}
	length = piece.length < pieces->left ? piece.length : pieces->left;
	pieces->vectors += sizeof piece;
	pieces->left -= length;
	*base = piece.base;
	return length;
}

static long find_first_byte(__u32 index, struct io_pieces *pieces)
{
	__u64 base = 0;
	long length = next_piece(pieces, &base);

	if (length)
		pieces->vectors = base;
	return length != 0;
}

/* The user address of the first byte; 0: not known. */
__noinline __u64 first_byte_of(const struct io *io)
{
	struct io_pieces pieces = {};

	if (!io || io->form == IO_UNKNOWN)
		return 0;
	pieces.vectors = vectors_of(io);
	pieces.left = io->length;
	pieces.form = io->form;
	bpf_loop(IOVECS_MAX, find_first_byte, &pieces, 0);
	return pieces.vectors;
}

#endif
