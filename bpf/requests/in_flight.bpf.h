/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Commands that await their replies, in the order in which they were read: one alone, or equal ones of one receive, in their connection,
 * others in their connection's pipeline; and which commands are answered, and how often. */
#ifndef KILN_IN_FLIGHT_BPF_H
#define KILN_IN_FLIGHT_BPF_H

#include "common/bpf.h"
#include "requests/observer.bpf.h"
#include "requests/phases.bpf.h"
#include "requests/rows.bpf.h"
#include "requests/unmatched.bpf.h"
#include "requests/variant.h"
#include "requests/watch.bpf.h"
#include PROTOCOL_HEADER(protocol.bpf.h)

static __always_inline void count_calls(const struct connection *x, __u32 command, __u32 count, __u32 largest, const struct arrived *times)
{
	struct kiln_command_stats *stats = bpf_map_lookup_elem(&command_stats, &command);

	if (!stats)
		return;
	stats->calls += count;
	if (is_deferred(x, row_class(command)))
		stats->queued += count;
	if (largest > stats->request_bytes_max)
		stats->request_bytes_max = largest;
	if (times->arrived_ns)
		add_latency(stats, KILN_PHASE_QUEUE, times->received_ns - times->arrived_ns, count);
}

/* What the connection of the one command that waits says of it, or of the run that does, but that it waits. */
static __always_inline void await_one(struct connection *x, __u32 command, const struct arrived *times)
{
	x->command = command | (defers_next(x) ? QUEUED : 0);
	x->received_ns = times->received_ns;
	x->arrived_ns = times->arrived_ns;
	x->executed_ns = 0;
	note_class(x, row_class(command));
}

struct await_context {
	struct request_reader *reader;
	struct connection *connection;
	struct connection_details *details;
	struct arrived times;
	__u32 batch_begin;    /* index of the first run of the batch that is being made */
	__u32 batch_sequence; /* of its first command on the connection */
	__u32 first;          /* of the receive's first command */
};

/* End a batch: the runs after the previous batch came in one receive, with consecutive sequences. */
static __always_inline void end_batch(struct connection_details *c, const struct arrived *times, __u32 sequence, __u32 first)
{
	__u32 batch = c->batch_tail;

	barrier_var(batch);
	c->batches[batch & (PIPELINE_BATCHES - 1)].received_ns = times->received_ns;
	c->batches[batch & (PIPELINE_BATCHES - 1)].arrived_ns = times->arrived_ns;
	c->batches[batch & (PIPELINE_BATCHES - 1)].end = c->tail;
	on_batch(&c->batches[batch & (PIPELINE_BATCHES - 1)], sequence, first);
	c->batch_tail = batch + 1;
}

static long await_run(__u32 index, struct await_context *context)
{
	struct request_reader *r = context->reader;
	struct connection *x = context->connection;
	struct connection_details *c = context->details;
	struct request_run *run;
	struct pending_run *pending;
	__u32 command, count, tail = c->tail;
	bool full;

	barrier_var(index);
	run = &r->runs[index & (RUNS_MAX - 1)];
	command = run->command;
	count = run->count;
	count_calls(x, command, count, run->largest, &context->times);
	count = responses_expected(x, row_class(command), count);
	full = c->untimed || tail - c->head >= PIPELINE_RUNS || c->batch_tail - c->batch_head >= PIPELINE_BATCHES;
	on_run(x, r, index, command, x->flags & UNMATCHED || full ? run->count : run->count - count, &context->times);
	if (!count || x->flags & UNMATCHED) {
		if (observes_sequences()) {
			if (tail != context->batch_begin)
				end_batch(c, &context->times, context->batch_sequence, context->first);
			context->batch_begin = tail;
		}
		return 0;
	}
	if (full) {
		c->untimed += count;
		lose(KILN_LOST_UNTIMED_COMMANDS, count);
		return 0;
	}
	if (observes_sequences() && tail == context->batch_begin)
		context->batch_sequence = x->sequence - count + 1;
	barrier_var(tail);
	pending = &c->runs[tail & (PIPELINE_RUNS - 1)];
	pending->command = command | (defers_next(x) ? QUEUED : 0);
	pending->count = count;
	c->tail = tail + 1;
	return 0;
}

/* What was left behind by requests whose replies were not seen goes. */
static __always_inline void empty_pipeline(struct connection_details *c)
{
	if (!may_leave_out())
		return;
	c->head = c->tail;
	c->batch_head = c->batch_tail;
	c->batch_answered = c->untimed = 0;
}

/* What a connection held moves into the pipeline, in front of what comes. */
static __always_inline void join_pipeline(struct connection_details *c, struct connection *x)
{
	struct arrived times = { x->arrived_ns, x->received_ns };
	__u32 tail, count, first;

	if (x->waiting == WAITING_PIPELINE)
		return;
	empty_pipeline(c);
	if (x->waiting == WAITING_NONE)
		return;
	tail = c->tail;
	count = x->waiting == WAITING_RUN ? x->run_count : 1;
	first = x->sequence - count + 1;
	barrier_var(tail);
	c->runs[tail & (PIPELINE_RUNS - 1)].command = x->command;
	c->runs[tail & (PIPELINE_RUNS - 1)].count = count;
	c->tail = tail + 1;
	end_batch(c, &times, first, first);
	asm volatile("" ::: "memory"); /* a send on another CPU sees the rest before it sees that they wait there */
	x->waiting = WAITING_PIPELINE;
}

struct count_context {
	struct request_reader *reader;
	struct connection *connection;
	struct arrived times;
};

static long count_run(__u32 index, struct count_context *context)
{
	struct request_run *run;

	barrier_var(index);
	run = &context->reader->runs[index & (RUNS_MAX - 1)];
	count_calls(context->connection, run->command, run->count, run->largest, &context->times);
	note_class(context->connection, row_class(run->command));
	on_run(context->connection, context->reader, index, run->command, run->count, &context->times);
	return 0;
}

/* The runs of a receive are counted, and wait for nothing; the last one is noted already. */
__noinline int count_runs(struct connection *x, struct request_reader *r, const struct arrived *times)
{
	struct count_context context = { .reader = r, .connection = x };

	if (!x || !r || !times)
		return 0;
	context.times = *times;
	bpf_loop(r->runs_noted, count_run, &context, 0);
	on_runs_ended(x);
	return 0;
}

/* The runs of a receive join the pipeline; the last one is noted already. */
__noinline int await_runs(struct connection *x, struct request_reader *r, struct connection_details *c, const struct arrived *times)
{
	struct await_context context = { .reader = r, .connection = x, .details = c };
	if (!x || !r || !c || !times)
		return 0;
	context.times = *times;
	join_pipeline(c, x);
	context.first = x->sequence + 1;
	context.batch_begin = c->tail;
	bpf_loop(r->runs_noted, await_run, &context, 0);
	on_runs_ended(x);
	if (x->flags & UNMATCHED)
		return 0;
	/* What found no room in `runs` comes after them, or between: from there on only the number of replies is known. */
	c->untimed += r->unlisted;
	on_runs_unlisted(x, r->unlisted);
	if (c->tail != context.batch_begin)
		end_batch(c, times, context.batch_sequence, context.first);
	x->waiting = c->tail != c->head || c->untimed ? WAITING_PIPELINE : WAITING_NONE;
	return 0;
}

#endif
