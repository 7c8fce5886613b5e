/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which calls' stacks are kept, where only some are: decided when a call's reply has been handed over. */
#ifndef KILN_VERDICTS_BPF_H
#define KILN_VERDICTS_BPF_H

#include "common/bpf.h"
#include "requests/connections.bpf.h"
#include "requests/control.bpf.h"
#include "work/decisions.bpf.h"

/* Key: row; value: calls whose service took as long (ns) are slow. 0: `slower_than_ns` of the options. Written by user space, which may learn
 * it while the session goes on, and for commands that are not asked for when their row is taken. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_COMMAND_CAPACITY);
	__type(key, __u32);
	__type(value, __u64);
} thresholds SEC(".maps");

/* Key: struct kiln_command_name of each command that is asked for. Written by user space before attaching. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct kiln_command_name);
	__type(value, __u8);
} wanted_commands SEC(".maps");

/* Key: row; one value for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_COMMAND_CAPACITY);
	__type(key, __u32);
	__type(value, struct kiln_judged);
} judged_calls SEC(".maps");

/* A new row. */
static __always_inline void want_row(__u32 row, const struct kiln_command_key *key)
{
	__u64 never = KILN_NO_THRESHOLD;

	if (work_options.judged && work_options.by_command && !bpf_map_lookup_elem(&wanted_commands, key->name))
		bpf_map_update_elem(&thresholds, &row, &never, BPF_ANY);
}

/* Whether the calls of a client are asked for. */
__noinline int wants_client(const struct kiln_client_key *client)
{
	__u32 i;

	if (!client)
		return false;
	if (!work_options.clients)
		return true;
	for (i = 0; i < KILN_WORK_CLIENTS; i++) {
		const volatile struct kiln_work_client *wanted = &work_options.client[i];

		if (i >= work_options.clients)
			break;
		if (wanted->family == client->family && ((const volatile __u64 *)wanted->address)[0] == ((const __u64 *)client->address)[0] &&
			((const volatile __u64 *)wanted->address)[1] == ((const __u64 *)client->address)[1])
			return true;
	}
	return false;
}

/* Calls of one receive and command that were answered together. */
struct answered_calls {
	__u64 received_ns, sent_ns;
	__u64 blocked_ns; /* as in struct kiln_judged_calls */
	__u32 row;
	__u32 count;
	__u32 are_errors;
	__u32 reserved;
};

struct judging {
	struct kiln_held_stacks *held;
	struct kiln_work *thread;
	__u64 connection, received_ns;
	__u32 verdict;
	__u32 row;
};

static long judge_stack(__u32 index, struct judging *judging)
{
	struct kiln_held_stack *stack;
	__u32 row;

	barrier_var(index);
	stack = &judging->held->stacks[index & (KILN_HELD_STACKS - 1)];
	if (stack->state != KILN_HELD_DECIDED || stack->work.connection != judging->connection ||
		stack->work.received_ns > judging->received_ns)
		return 0;
	/* Replies come in the order of the requests. What was received before is the beginning of this request, or of one that was judged. */
	row = stack->work.label >> KILN_LABEL_ROW_SHIFT & (KILN_LABEL_ROWS - 1);
	decide_fate(stack, judging->thread,
		stack->work.received_ns == judging->received_ns || row == judging->row ? judging->verdict : KILN_VERDICT_LEFT_OUT);
	return 0;
}

static __always_inline void judge_stacks_of(struct judging *judging, __u32 slot)
{
	struct kiln_work *w = bpf_map_lookup_elem(&work, &slot);

	if (!w || !w->held || !(w->held_for & kiln_held_bit(judging->connection)))
		return;
	judging->thread = w;
	judging->held = bpf_map_lookup_elem(&held_stacks, &slot);
	if (judging->held)
		bpf_loop(w->held_end, judge_stack, judging, 0);
	if (w->held)
		return;
	w->held_for = 0;
	if (*(volatile __u32 *)&w->held) /* an interrupt came in between */
		w->held_for = -1ULL;
}

static __always_inline void count_judged(struct kiln_judged_calls *sum, const struct answered_calls *calls, __u64 service_ns)
{
	sum->calls += calls->count;
	sum->service_ns += service_ns * calls->count;
	sum->blocked_ns += calls->blocked_ns;
}

static __always_inline __u64 threshold_of(__u32 row)
{
	const __u64 *own = bpf_map_lookup_elem(&thresholds, &row);

	return own && *own ? *own : work_options.slower_than_ns;
}

/* From when on a call's stacks are certain to be kept if it is still executed then; 0: its reply decides. Calls that take long have more different
 * stacks than can be held. */
static __always_inline __u64 kept_from(const struct connection *x, __u16 label, __u64 received_ns)
{
	__u32 row = label >> KILN_LABEL_ROW_SHIFT & (KILN_LABEL_ROWS - 1);
	__u64 threshold;
	__u8 class;

	if (label != KILN_LABEL(KILN_ACTIVITY_EXEC, row) || row == KILN_LABEL_SEVERAL || !work_options.judged ||
		work_options.errors_only || (work_options.clients && !(x->flags & TRACED)))
		return 0;
	threshold = threshold_of(row);
	class = row_class(row);
	if (threshold == KILN_NO_THRESHOLD || class == KILN_CLASS_UNTIMED || class == KILN_CLASS_BLOCKING)
		return 0;
	return received_ns + threshold;
}

static __always_inline __u32 verdict_on(const struct connection *x, const struct answered_calls *calls, __u64 service_ns)
{
	__u32 row = calls->row;
	__u64 threshold = threshold_of(row);
	__u8 class = row_class(row);

	if (class == KILN_CLASS_UNTIMED || class == KILN_CLASS_BLOCKING || calls->sent_ns < calls->received_ns)
		return KILN_VERDICT_LEFT_OUT;
	if (threshold == KILN_NO_THRESHOLD || (work_options.errors_only && !calls->are_errors) ||
		(work_options.clients && !(x->flags & TRACED)))
		return KILN_VERDICT_LEFT_OUT;
	if (!work_options.has_threshold)
		return KILN_VERDICT_NONE;
	return service_ns >= threshold ? KILN_VERDICT_SLOW : KILN_VERDICT_FAST;
}

/* Calls of a connection have been answered by the current thread. */
__noinline int judge(struct connection *x, const struct answered_calls *calls)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 row, slot = 0, verdict;
	struct judging judging = {};
	struct kiln_judged *counts;
	struct kiln_work *w;
	__u64 service_ns;

	if (!x || !calls)
		return 0;
	row = calls->row;
	service_ns = calls->sent_ns - calls->received_ns;
	verdict = verdict_on(x, calls, service_ns);
	counts = bpf_map_lookup_elem(&judged_calls, &row);
	if (counts && verdict == KILN_VERDICT_LEFT_OUT)
		counts->left_out += calls->count;
	else if (counts)
		count_judged(verdict == KILN_VERDICT_FAST ? &counts->fast : &counts->slow, calls, service_ns);
	if (verdict == KILN_VERDICT_FAST && !work_options.keeps_fast)
		verdict = KILN_VERDICT_LEFT_OUT;
	judging.connection = x->id;
	judging.received_ns = calls->received_ns;
	judging.verdict = verdict;
	judging.row = row;
	judge_stacks_of(&judging, x->process);
	w = own_work(task, x->process, &slot);
	if (!w)
		return 0;
	if (slot != x->process)
		judge_stacks_of(&judging, slot);
	w->verdict = verdict + 1;
	w->judged_ns = calls->received_ns;
	return 0;
}

static __always_inline void judge_calls(
	struct connection *x, __u32 row, __u32 count, __u64 received_ns, __u64 blocked_ns, bool are_errors)
{
	struct answered_calls calls = {
		.received_ns = received_ns, .sent_ns = x->sent_ns, .blocked_ns = blocked_ns, .row = row, .count = count, .are_errors = are_errors
	};

	if (!CLIENT_SIDE && work_options.judged)
		judge(x, &calls);
}

#endif
