/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* When a call's reply has been handed over, the stacks that are held for it get the band of its latency. Where only some calls' stacks are kept they also
 * get the verdict, and calls are counted by their verdicts. Answered calls are noted first, and stacks are decided later: there is no room left on the BPF
 * stack where replies are matched. */
#ifndef KILN_JUDGING_BPF_H
#define KILN_JUDGING_BPF_H

#include "common/bpf.h"
#include "requests/readers.bpf.h"
#include "requests/response_reader.bpf.h"
#include "work/verdicts.bpf.h"

#define ARE_ERRORS (1U << 31) /* with a count of calls */

static __always_inline void count_judged(__u32 row, __u32 verdict, __u32 count, __u64 service_ns, __u64 blocked_ns)
{
	struct kiln_judged *counts = bpf_map_lookup_elem(&judged_calls, &row);
	struct kiln_judged_calls *sum;

	if (!counts || verdict == KILN_VERDICT_LEFT_OUT)
		return;
	sum = verdict == KILN_VERDICT_FAST ? &counts->fast : &counts->slow;
	sum->calls += count;
	sum->service_ns += service_ns * count;
	sum->blocked_ns += blocked_ns;
}

/* Calls of a connection, which were received together and are of one row, have been answered. `count`: of the calls. */
__noinline int note_answered(struct connection *x, struct response_reader *r, __u32 row, __u32 count, __u64 received_ns)
{
	struct answered_batch *batch;
	__u32 verdict, at;

	if (!x || !r)
		return 0;
	verdict = verdict_on(x, row, received_ns, count & ARE_ERRORS);
	if (work_options.judged)
		count_judged(row, verdict, count & ~ARE_ERRORS, x->sent_ns - received_ns, r->blocked_ns);
	r->blocked_ns = 0;
	/* The first call of a receive decides about the stacks of all its calls. */
	at = r->batches_answered;
	barrier_var(at);
	if (at && r->batches[(at - 1) & (ANSWERED_BATCHES - 1)].received_ns == received_ns)
		return 0;
	if (at >= ANSWERED_BATCHES)
		return 0; /* never: a connection has no more in flight */
	r->batches_answered = at + 1;
	barrier_var(at);
	batch = &r->batches[at & (ANSWERED_BATCHES - 1)];
	batch->received_ns = received_ns;
	batch->row = row;
	batch->verdict = verdict == KILN_VERDICT_FAST && !work_options.keeps_fast ? KILN_VERDICT_LEFT_OUT : verdict;
	return 0;
}

struct judging {
	struct kiln_held_stacks *held;
	struct kiln_work *thread;
	const struct answered_batch *batch;
	__u64 connection;
	__u32 band; /* of the batch's latency */
	__u32 reserved;
};

/* Whether a stack of the batch's connection is for that batch: of its receive, or of an earlier one that brought the beginning of its request. */
static __always_inline bool is_for(const struct kiln_held_stack *stack, const struct answered_batch *batch)
{
	__u16 label = stack->work.label;

	return stack->work.received_ns == batch->received_ns ||
		(kiln_label_row(label) == batch->row && (work_options.judged || kiln_label_activity(label) == KILN_ACTIVITY_READ));
}

static long judge_stack(__u32 index, struct judging *judging)
{
	const struct answered_batch *batch = judging->batch;
	struct kiln_held_stack *stack;

	barrier_var(index);
	stack = &judging->held->stacks[index & (KILN_HELD_STACKS - 1)];
	if (stack->state != KILN_HELD_DECIDED || stack->work.connection != judging->connection ||
		stack->work.received_ns > batch->received_ns)
		return 0;
	/* Replies come in the order of the requests: what was received before and is for another one will have no reply. */
	if (is_for(stack, batch))
		decide_fate(stack, judging->thread, batch->verdict, judging->band);
	else
		decide_fate(stack, judging->thread, work_options.judged ? KILN_VERDICT_LEFT_OUT : KILN_VERDICT_NONE, KILN_BAND_UNKNOWN);
	return 0;
}

/* Gives the stacks that a thread holds for a connection's calls their verdict. */
__noinline int judge_stacks(struct connection *x, const struct answered_batch *batch, __u32 slot)
{
	struct judging judging = { .batch = batch };
	struct kiln_work *w = bpf_map_lookup_elem(&work, &slot);
	__u64 service_ns;

	if (!x || !batch || !w || !w->held || !(w->held_for & kiln_held_bit(x->id)))
		return 0;
	judging.connection = x->id;
	service_ns = service_of_call(x, batch->row, batch->received_ns);
	judging.band = service_ns ? kiln_band_of(service_ns) : KILN_BAND_UNKNOWN;
	judging.thread = w;
	judging.held = bpf_map_lookup_elem(&held_stacks, &slot);
	if (judging.held)
		bpf_loop(w->held_end, judge_stack, &judging, 0);
	if (w->held)
		return 0;
	w->held_for = 0;
	if (*(volatile __u32 *)&w->held) /* an interrupt came in between */
		w->held_for = -1ULL;
	return 0;
}

struct passing {
	struct connection *connection;
	struct response_reader *reader;
	__u32 slot; /* of the current thread */
	__u32 reserved;
};

static long pass_verdict(__u32 index, struct passing *passing)
{
	struct connection *x = passing->connection;
	const struct answered_batch *batch;

	barrier_var(index);
	batch = &passing->reader->batches[index & (ANSWERED_BATCHES - 1)];
	judge_stacks(x, batch, x->process);
	if (passing->slot != x->process)
		judge_stacks(x, batch, passing->slot);
	return 0;
}

/* The current thread has sent what was noted to be answered. */
__noinline int pass_verdicts(struct connection *x, __u32 slot)
{
	struct passing passing = { .connection = x, .slot = slot };
	__u32 zero = 0;

	passing.reader = bpf_map_lookup_elem(&response_readers, &zero);
	if (x && passing.reader)
		bpf_loop(passing.reader->batches_answered, pass_verdict, &passing, 0);
	return 0;
}

/* Whether a stack of the current thread, whose work is `w`, or of its process's main thread waits for something. As a rule none does. */
static __always_inline bool stacks_are_held(const struct kiln_work *w, __u32 process, __u32 slot)
{
	const struct kiln_work *main_thread;

	if (w->held || slot == process)
		return w->held;
	main_thread = bpf_map_lookup_elem(&work, &process);
	return main_thread && main_thread->held;
}

static __always_inline void judge_calls(
	struct connection *x, struct response_reader *r, __u32 row, __u32 count, __u64 received_ns, bool are_errors)
{
	if (!CLIENT_SIDE && work_options.followed)
		note_answered(x, r, row, count | (are_errors ? ARE_ERRORS : 0), received_ns);
}

/* The reader of this CPU; NULL where stacks have no labels. */
static __always_inline struct response_reader *judging_reader(void)
{
	__u32 zero = 0;

	return !CLIENT_SIDE && work_options.followed ? bpf_map_lookup_elem(&response_readers, &zero) : NULL;
}

#endif
