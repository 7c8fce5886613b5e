/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which reply answers which command: each whole reply that is sent answers the first that waits. */
#ifndef KILN_MATCHING_BPF_H
#define KILN_MATCHING_BPF_H

#include "common/bpf.h"
#include "requests/in_flight.bpf.h"
#include "requests/io.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/variant.h"
#include "work/judging.bpf.h"
#include "include/kiln_work.h"

_Static_assert(ANSWERED_BATCHES == PIPELINE_BATCHES, "a send answers all that is in flight at most");

/* A send, with the requests that it may answer. */
struct replied {
	struct connection *connection;
	struct connection_details *details;
	struct response_reader *reader;
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
	struct response_reader *r = replied->reader;
	__u32 head = c->head, batch = c->batch_head, count, row;
	struct pending_run *run;

	if (!context->left || head == c->tail)
		return 1;
	barrier_var(head);
	run = &c->runs[head & (PIPELINE_RUNS - 1)];
	barrier_var(batch);
	count = run->count < context->left ? run->count : context->left;
	row = run->command & ~QUEUED;
	if (row != r->answered_row)
		r->answered_row = KILN_LABEL_SEVERAL;
	record_answers(row, run->command & QUEUED, count, &c->batches[batch & (PIPELINE_BATCHES - 1)], replied->connection->sent_ns,
		context->are_errors, r->largest_at - r->answered < count ? r->largest : 0);
	judge_calls(replied->connection, r, row, count, c->batches[batch & (PIPELINE_BATCHES - 1)].received_ns, context->are_errors);
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
__noinline int answer(struct connection *x, struct connection_details *c, struct response_reader *r, __u32 count, __u32 are_errors)
{
	struct replied replied = { x, c, r };
	struct answer_context context = { &replied, count, are_errors };

	if (!x || !c || !r || !count || x->flags & UNMATCHED)
		return 0;
	if (x->waiting == WAITING_ONE) {
		on_single_answered(x);
		record_answer(x, x->sent_ns, r->largest_at == r->answered ? r->largest : 0, are_errors);
		judge_calls(x, r, command_in_flight(x), 1, x->received_ns, are_errors);
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
	if (context.left) /* more responses than requests in flight: matching is lost */
		lose_match(x);
	return 0;
}

/* The command whose reply comes next; `other`'s row where none is known. */
static __always_inline __u32 answered_command(const struct replied *replied)
{
	struct connection *x = replied->connection;
	struct connection_details *c = replied->details;
	__u32 head;

	if (x->waiting == WAITING_ONE)
		return command_in_flight(x);
	if (x->waiting != WAITING_PIPELINE || c->head == c->tail)
		return x->process;
	head = c->head;
	barrier_var(head);
	return c->runs[head & (PIPELINE_RUNS - 1)].command & ~QUEUED;
}

struct responses_context {
	struct response_reader *reader;
	struct response_stream *stream;
	struct io_pieces pieces;
};

static long follow_piece(__u32 index, struct responses_context *context)
{
	__u64 base = 0;
	long length;

	if (!context->pieces.left)
		return 1;
	length = next_piece(&context->pieces, &base);
	if (length < 0) {
		context->stream->state = STREAM_FAILED;
		return 1;
	}
	on_send_piece(context->pieces.vectors);
	if (length)
		read_responses(context->reader, context->stream, base, length);
	return context->stream->state == STREAM_FAILED;
}

/* The bytes of a send, wherever they lie. What they complete is then in this CPU's reader. */
__noinline int read_send(struct connection_details *c, const struct io *send)
{
	__u32 zero = 0;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);
	struct responses_context context = { .reader = r };
	struct user_msghdr header = {};
	struct response_stream *s;

	if (!r || !c || !send)
		return 0;
	s = &c->replies;
	context.stream = s;
	context.pieces.vectors = send->base;
	context.pieces.left = send->length;
	context.pieces.form = send->form;
	start_responses(r);
	on_send(!responses_at_boundary(s));
	switch (send->form) {
	case IO_BYTES:
		read_responses(r, s, send->base, send->length);
		return 0;
	case IO_MESSAGE:
		if (bpf_probe_read_user(&header, sizeof header, (void *)send->base)) {
			lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
			s->state = STREAM_FAILED;
			return 0;
		}
		context.pieces.vectors = header.iov;
		break;
	case IO_VECTORS:
	case IO_KERNEL_VECTORS:
		break;
	default:
		lose(KILN_LOST_UNSUPPORTED_SENDS, 1);
		s->state = STREAM_FAILED;
		return 0;
	}
	bpf_loop(IOVECS_MAX, follow_piece, &context, 0);
	return 0;
}

static long answer_error(__u32 index, struct replied *replied)
{
	struct response_error *error;
	struct connection *x = replied->connection;

	barrier_var(index);
	error = &replied->reader->errors[index & (ERRORS_MAX - 1)];
	answer(x, replied->details, replied->reader, error->replies_before, false);
	if (x->flags & UNMATCHED || x->sync == RESYNCING)
		return 1;
	record_error(x->process, answered_command(replied), error);
	if (!error->nested)
		answer(x, replied->details, replied->reader, 1, true);
	return 0;
}

/* What read_send() found answers the commands that wait. */
__noinline int match_responses(struct connection *x, struct connection_details *c)
{
	__u32 zero = 0, row;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);
	struct replied replied = { x, c, r };
	struct kiln_command_stats *stats;

	if (!r || !x || !c)
		return 0;
	if (r->pushes)
		note_unsolicited(x);
	if (r->pushes)
		on_pushes(x, r);
	if (c->first_sent_ns && (r->replies || (r->errors_listed && !r->errors[0].nested))) {
		row = answered_command(&replied);
		stats = bpf_map_lookup_elem(&command_stats, &row);
		if (stats && !CLIENT_SIDE && x->waiting != WAITING_NONE && x->sent_ns > c->first_sent_ns)
			add_latency(stats, KILN_PHASE_SEND_BLOCKED, x->sent_ns - c->first_sent_ns, 1);
		if (x->sent_ns > c->first_sent_ns)
			r->blocked_ns = x->sent_ns - c->first_sent_ns;
		c->first_sent_ns = 0;
	}
	if (r->errors_listed)
		bpf_loop(r->errors_listed, answer_error, &replied, 0);
	answer(x, c, r, r->replies, false);
	if (c->replies.state == STREAM_FAILED) {
		if (!CLIENT_SIDE && !is_known_server(x->process) && is_other_protocol(&c->replies))
			lose(KILN_LOST_OTHER_PROTOCOL_CONNECTIONS, 1);
		lose_match(x);
	} else if (responses_at_boundary(&c->replies)) {
		clear_flags(x, IN_REPLY);
		c->first_sent_ns = 0; /* a push ended here */
	} else {
		set_flags(x, IN_REPLY);
		if (!c->first_sent_ns)
			c->first_sent_ns = x->sent_ns;
	}
	return 0;
}

#endif
