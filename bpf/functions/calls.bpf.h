/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What beginnings and returns of functions do to the open calls of a stack. */
#ifndef KILN_FUNCTION_CALLS_BPF_H
#define KILN_FUNCTION_CALLS_BPF_H

#include "common/bpf.h"
#include "functions/call_stacks.bpf.h"
#include "functions/losses.bpf.h"
#include "functions/times.bpf.h"

#define BUCKET_STEPS 16 /* open functions of one bucket that are told apart */

/* Take the latest call off a stack. */
static __always_inline void take_off(struct call_stack *stack, struct open_call *call)
{
	if (!call->is_inner)
		stack->buckets[call->row % BUCKETS] = call->outer;
	stack->top = place_below(stack->top);
}

/* The latest call of a stack has returned. Its time is part of the call below, whoever that is. */
static __always_inline void end_call(struct call_stack *stack, struct open_call *call, __u64 now)
{
	__u64 total = now - call->entered_ns, self = total > call->children_ns ? total - call->children_ns : 0;
	struct open_call *caller;

	note_return(call->row, total, self, !call->is_inner);
	take_off(stack, call);
	if (stack->top == NO_CALL)
		return;
	caller = call_at(stack->top);
	if (caller)
		caller->children_ns += total;
}

/* The latest call of a stack is gone without a return. What its calls took stays theirs. */
static __always_inline void drop_call(struct call_stack *stack, struct open_call *call)
{
	__u64 children = call->children_ns;
	struct open_call *caller;

	note_never_returned(call->row);
	take_off(stack, call);
	if (stack->top == NO_CALL)
		return;
	caller = call_at(stack->top);
	if (caller)
		caller->children_ns += children;
}

/* The outermost open call of a function, or NO_CALL. */
static __always_inline __u32 outermost_call(const struct call_stack *stack, __u32 row)
{
	__u32 found = stack->buckets[row % BUCKETS], i;

	for (i = 0; i < BUCKET_STEPS && found != NO_CALL; i++) {
		const struct open_call *call = call_at(found);

		if (!call)
			break;
		if (call->row == row)
			return found;
		found = call->outer;
	}
	return NO_CALL;
}

/* A function begins at `sp`. */
struct beginning {
	struct call_stack *stack;
	__u64 sp;
	__u64 returns_to;
	__u32 row;
	__u32 last; /* drop all calls from the top to this one; NO_CALL: only what lies below the stack pointer */
};

/* Drop the latest call if it can't be open any more. */
static long drop_one(__u32 step, struct beginning *at)
{
	struct call_stack *stack = at->stack;
	__u32 top = stack->top;
	struct open_call *call;

	if (top == NO_CALL)
		return 1;
	call = call_at(top);
	if (!call)
		return 1;
	if (at->last == NO_CALL && (call->sp > at->sp || (call->sp == at->sp && call->may_jump && call->returns_to == at->returns_to)))
		return 1;
	drop_call(stack, call);
	return top == at->last;
}

#define OPEN_CALLS_MOST (CHUNKS * CHUNK)

/* Drops the calls that are gone when a function begins. A function that is open at the same stack pointer has not returned either: it didn't
 * jump to itself, as far as can be told. */
static __always_inline void drop_gone(struct beginning *at)
{
	struct call_stack *stack = at->stack;
	struct open_call *call;

	at->last = NO_CALL;
	call = stack->top == NO_CALL ? NULL : call_at(stack->top);
	if (!call || call->sp > at->sp)
		return;
	bpf_loop(OPEN_CALLS_MOST, drop_one, at, 0);
	at->last = outermost_call(stack, at->row);
	call = at->last == NO_CALL ? NULL : call_at(at->last);
	if (call && call->sp == at->sp)
		bpf_loop(OPEN_CALLS_MOST, drop_one, at, 0);
}

/* A function begins. */
static __always_inline void begin_call(struct call_stack *stack, __u64 sp, __u64 returns_to, __u64 cookie)
{
	struct beginning at = { .stack = stack, .sp = sp, .returns_to = returns_to, .row = cookie & KILN_PROBE_ROW_MASK };
	__u32 place, bucket = at.row % BUCKETS;
	struct open_call *call;

	drop_gone(&at);
	place = place_above(stack);
	call = place == NO_CALL ? NULL : call_at(place);
	if (!call) {
		lose(KILN_LOST_CALL_STACKS_FULL, 1);
		return;
	}
	call->sp = sp;
	call->children_ns = 0;
	call->returns_to = returns_to;
	call->row = at.row;
	call->may_jump = !!(cookie & KILN_PROBE_MAY_JUMP);
	call->is_inner = outermost_call(stack, at.row) != NO_CALL;
	if (!call->is_inner) {
		call->outer = stack->buckets[bucket];
		stack->buckets[bucket] = place;
	}
	stack->top = place;
	stack->returned = 0;
	call->entered_ns = bpf_ktime_get_ns(); /* last: kiln's own time is not the function's */
}

/* A function returns at `sp`. */
struct ending {
	struct call_stack *stack;
	__u64 sp;
	__u64 now;
	__u32 row;
	__u32 found; /* it had begun */
};

static long end_one(__u32 step, struct ending *at)
{
	struct call_stack *stack = at->stack;
	struct open_call *call;

	if (stack->top == NO_CALL)
		return 1;
	call = call_at(stack->top);
	if (!call || call->sp > at->sp)
		return 1;
	if (call->sp == at->sp) {
		at->found |= call->row == at->row;
		end_call(stack, call, at->now);
	} else {
		drop_call(stack, call);
	}
	return 0;
}

/* All calls at `sp` return, and what lies below is gone. */
static __always_inline void end_calls(struct call_stack *stack, __u64 sp, __u64 now, __u32 row)
{
	struct ending at = { .stack = stack, .sp = sp, .now = now, .row = row };
	struct open_call *call = stack->top == NO_CALL ? NULL : call_at(stack->top);

	if (call && call->sp == sp && call->row == row) { /* as a rule, and then no other */
		at.found = true;
		end_call(stack, call, now);
		call = stack->top == NO_CALL ? NULL : call_at(stack->top);
	}
	if (call && call->sp <= sp)
		bpf_loop(OPEN_CALLS_MOST, end_one, &at, 0);
	/* With return probes, each of the calls at one stack pointer has a return of its own. */
	if (!at.found && stack->returned != sp)
		lose(KILN_LOST_RETURNS_WITHOUT_ENTRY, 1);
	stack->returned = sp;
}

#endif
