/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which reply answers which command: each whole reply that is sent answers the first that waits. */
#ifndef KILN_MATCHING_BPF_H
#define KILN_MATCHING_BPF_H

#include "common/bpf.h"
#include "requests/in_flight.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/variant.h"

#define IOVECS_MAX 1024                   /* UIO_MAXIOV: no call takes more */

enum send_form { SEND_BYTES, SEND_VECTORS, SEND_KERNEL_VECTORS, SEND_MESSAGE, SEND_UNKNOWN };

/* How a hook sees a send. */
struct send {
	__u64 buffer;                     /* user address of the bytes, of the iovecs (or the kernel's), or of the message header */
	__u64 begin_ns;                   /* when it began; 0: not known */
	__u32 sent;                       /* bytes that the kernel took */
	enum send_form form;              /* SEND_UNKNOWN can't be followed */
	__u64 returned_ns;                /* when the socket's send returned; 0: not known */
	bool in_part;                     /* it may not be the end of what is to be sent */
};

static __always_inline long read_vector(struct iovec *to, __u64 address, bool in_kernel)
{
	return in_kernel ? bpf_probe_read_kernel(to, sizeof *to, (void *)address) :
		bpf_probe_read_user(to, sizeof *to, (void *)address);
}

/* Where the iovecs of a send of several pieces lie. */
__noinline __u64 vectors_of(const struct send *send)
{
	struct user_msghdr header = {};

	if (!send)
		return 0;
	if (send->form != SEND_MESSAGE)
		return send->buffer;
	bpf_probe_read_user(&header, sizeof header, (void *)send->buffer);
	return header.iov;
}

/* What is left of a send that is followed piece by piece. */
struct send_pieces {
	struct connection_details *details;
	__u64 vectors;                    /* the next iovec, or the only buffer */
	__u32 left;                       /* of the bytes sent */
	__u32 form;                       /* enum send_form */
};

/* The next piece of a send: its length, or -1 where it can't be read. */
static __always_inline long next_piece(struct send_pieces *pieces, __u64 *base)
{
	struct iovec piece = { pieces->vectors, pieces->left };
	__u32 length;
	long failed = 0;

	if (pieces->form != SEND_BYTES)
		failed = read_vector(&piece, pieces->vectors, pieces->form == SEND_KERNEL_VECTORS);
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

static long find_first_byte(__u32 index, struct send_pieces *pieces)
{
	__u64 base = 0;
	long length = next_piece(pieces, &base);

	if (length)
		pieces->vectors = base;
	return length != 0;
}

/* The user address of a send's first byte; 0: not known. */
__noinline __u64 first_byte_of(const struct send *send)
{
	struct send_pieces pieces = {};

	if (!send || send->form == SEND_UNKNOWN)
		return 0;
	pieces.vectors = vectors_of(send);
	pieces.left = send->sent;
	pieces.form = send->form;
	bpf_loop(IOVECS_MAX, find_first_byte, &pieces, 0);
	return pieces.vectors;
}

/* What a send is held against. */
struct replied {
	struct connection *connection;
	struct connection_details *details;
	struct reply_reader *reader;
};

struct answer_context {
	const struct replied *replied;
	__u32 left;
	__u32 are_errors;
};

static long answer_run(__u32 index, struct answer_context *context)
{
	const struct replied *replied = context->replied;
	struct connection_details *c = replied->details;
	struct reply_reader *r = replied->reader;
	__u32 head = c->head, batch = c->batch_head, count, row;
	struct pending_run *run;

	if (!context->left || head == c->tail)
		return 1;
	barrier_var(head);
	run = &c->runs[head & (PIPELINE_RUNS - 1)];
	barrier_var(batch);
	count = run->count < context->left ? run->count : context->left;
	row = run->command & ~QUEUED;
	record_answers(row, run->command & QUEUED, count, &c->batches[batch & (PIPELINE_BATCHES - 1)], replied->connection->sent_ns, context->are_errors,
		       r->largest_at - r->answered < count ? r->largest : 0);
	r->answered += count;
	on_run_answered(replied->connection, c, row, count, &c->batches[batch & (PIPELINE_BATCHES - 1)]);
	context->left -= count;
	run->count -= count;
	if (!run->count) {
		c->head = head + 1;
		if (c->head == c->batches[batch & (PIPELINE_BATCHES - 1)].end) {
			c->batch_head = c->batch_head + 1;
			c->batch_answered = 0;
		}
	}
	return 0;
}

/* The next `count` replies have been handed over. Global, so that the verifier follows it once. */
__noinline int answer(struct connection *x, struct connection_details *c, struct reply_reader *r, __u32 count, __u32 are_errors)
{
	struct replied replied = { x, c, r };
	struct answer_context context = { &replied, count, are_errors };

	if (!x || !c || !r || !count || x->flags & UNPAIRED)
		return 0;
	if (x->waiting == WAITING_ONE) {
		on_single_answered(x);
		record_answer(x, x->sent_ns, r->largest_at == r->answered ? r->largest : 0, are_errors);
		r->answered++;
		context.left--;
	} else if (x->waiting == WAITING_PIPELINE) {
		bpf_loop(PIPELINE_RUNS, answer_run, &context, 0);
		if (context.left && c->untimed) {
			__u64 passed = c->untimed < context.left ? c->untimed : context.left;

			c->untimed -= passed;
			r->answered += passed;
			on_unlisted_answered(passed);
			context.left -= passed;
		}
		if (c->head == c->tail && !c->untimed)
			x->waiting = WAITING_NONE;
	}
	if (context.left)                 /* nobody awaits what was sent: what answers what is not known */
		unpair(x);
	return 0;
}

/* The command whose reply comes next; `other`'s row where none is known. */
static __always_inline __u32 answered_command(const struct replied *replied)
{
	struct connection *x = replied->connection;
	struct connection_details *c = replied->details;
	__u32 head;

	if (x->waiting == WAITING_ONE)
		return x->command;
	if (x->waiting != WAITING_PIPELINE || c->head == c->tail)
		return x->process;
	head = c->head;
	barrier_var(head);
	return c->runs[head & (PIPELINE_RUNS - 1)].command & ~QUEUED;
}

struct pieces_context {
	struct reply_reader *reader;
	struct reply_stream *stream;
	__u64 vectors;
	__u32 left;                       /* of the bytes sent */
	bool in_kernel;                   /* the iovecs, not the bytes */
};

static long follow_piece(__u32 index, struct pieces_context *context)
{
	struct iovec piece = {};
	__u32 length;
	long failed;

	if (!context->left)
		return 1;
	failed = context->in_kernel ? bpf_probe_read_kernel(&piece, sizeof piece, (void *)context->vectors) :
		bpf_probe_read_user(&piece, sizeof piece, (void *)context->vectors);
	if (failed) {
		lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
		context->stream->state = REPLY_FAILED;
		return 1;
	}
	context->vectors += sizeof piece;
	length = piece.length < context->left ? piece.length : context->left;
	context->left -= length;
	on_send_piece(context->vectors);
	if (length)
		follow_replies(context->reader, context->stream, piece.base, length);
	return context->stream->state == REPLY_FAILED;
}

/* The bytes of a send, wherever they lie. What they complete is then in this CPU's reader. */
__noinline int follow_send(struct connection_details *c, const struct send *send)
{
	__u32 zero = 0;
	struct reply_reader *r = bpf_map_lookup_elem(&reply_readers, &zero);
	struct pieces_context context = { .reader = r };
	struct user_msghdr header = {};
	struct reply_stream *s;

	if (!r || !c || !send)
		return 0;
	s = &c->replies;
	context.stream = s;
	context.vectors = send->buffer;
	context.left = send->sent;
	start_send(r);
	on_send(s->state != REPLY_ELEMENT || s->outstanding);
	switch (send->form) {
	case SEND_BYTES:
		follow_replies(r, s, send->buffer, send->sent);
		return 0;
	case SEND_MESSAGE:
		if (bpf_probe_read_user(&header, sizeof header, (void *)send->buffer)) {
			lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
			s->state = REPLY_FAILED;
			return 0;
		}
		context.vectors = header.iov;
		break;
	case SEND_VECTORS:
		break;
	case SEND_KERNEL_VECTORS:
		context.in_kernel = true;
		break;
	case SEND_UNKNOWN:
		lose(KILN_LOST_UNSUPPORTED_SENDS, 1);
		s->state = REPLY_FAILED;
		return 0;
	}
	bpf_loop(IOVECS_MAX, follow_piece, &context, 0);
	return 0;
}

static long answer_error(__u32 index, struct replied *replied)
{
	struct reply_error *error;
	struct connection *x = replied->connection;

	barrier_var(index);
	error = &replied->reader->errors[index & (REPLY_ERRORS_MAX - 1)];
	answer(x, replied->details, replied->reader, error->replies_before, false);
	if (x->flags & UNPAIRED)
		return 1;
	record_error(x->process, answered_command(replied), error);
	if (!error->nested)
		answer(x, replied->details, replied->reader, 1, true);
	return 0;
}

/* What follow_send() found answers the commands that wait. */
__noinline int settle_replies(struct connection *x, struct connection_details *c)
{
	__u32 zero = 0, row;
	struct reply_reader *r = bpf_map_lookup_elem(&reply_readers, &zero);
	struct replied replied = { x, c, r };
	struct kiln_command_stats *stats;

	if (!r || !x || !c)
		return 0;
	if (r->pushes)
		x->flags |= RESP3;
	if (r->pushes)
		on_pushes(x, r);
	if (c->first_sent_ns && (r->replies || (r->errors_listed && !r->errors[0].nested))) {
		row = answered_command(&replied);
		stats = bpf_map_lookup_elem(&command_stats, &row);
		if (stats && !CLIENT_SIDE && x->waiting != WAITING_NONE && x->sent_ns > c->first_sent_ns)
			add_latency(stats, KILN_PHASE_SEND_BLOCKED, x->sent_ns - c->first_sent_ns, 1);
		c->first_sent_ns = 0;
	}
	if (r->errors_listed)
		bpf_loop(r->errors_listed, answer_error, &replied, 0);
	answer(x, c, r, r->replies, false);
	if (c->replies.state == REPLY_FAILED) {
		if (!CLIENT_SIDE && !is_known_server(x->process) && is_other_protocol(&c->replies))
			lose(KILN_LOST_NOT_RESP_CONNECTIONS, 1);
		unpair(x);
	} else if (replies_at_boundary(&c->replies)) {
		x->flags &= ~IN_REPLY;
		c->first_sent_ns = 0;     /* a push ended here */
	} else {
		x->flags |= IN_REPLY;
		if (!c->first_sent_ns)
			c->first_sent_ns = x->sent_ns;
	}
	return 0;
}

#endif
