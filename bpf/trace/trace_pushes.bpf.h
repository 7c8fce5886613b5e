/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace's pushes: what a server sends unsolicited. The scanner reports them if the protocol marks them; else they look like responses on a
 * connection that has subscribed, and is_message() recognizes them. The beginning of one that takes several sends is captured in the
 * slot with the sequence 0, which no request has. */
#ifndef KILN_TRACE_PUSHES_BPF_H
#define KILN_TRACE_PUSHES_BPF_H

#include "common/bpf.h"
#include "trace/trace_answers.bpf.h"
#include "trace/trace_records.bpf.h"

#define PUSH_SEQUENCE 0
/* A push, or a response that may be one. */
static __always_inline void emit_push(struct connection *x, struct trace_scratch *t, const struct listed_reply *push, bool is_array)
{
	struct kiln_trace_record *record = new_record(t, 0, x->sequence);

	record->flags = KILN_TRACE_PUSH;
	record->sent_ns = x->sent_ns;
	record->reply_bytes = push->bytes;
	if (push->place.resumed) {
		int found = find_slot(x->id, PUSH_SEQUENCE);

		resume_reply(t, slot_at(found));
		free_slot(found, x->id);
	}
	if (!(record->flags & KILN_TRACE_REPLY_LOST) && gather(&push->place, push->bytes, KILN_TRACE_REPLY_BYTES))
		record->flags |= KILN_TRACE_REPLY_LOST;
	if (!is_array || is_message(record))
		send_record(x);
	else if (record->flags & KILN_TRACE_REPLY_LOST)
		lose(KILN_LOST_UNTRACED_PUSHES, 1);
}

static long emit_listed_push(__u32 index, struct connection **connection)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();

	if (!t || !list)
		return 1;
	barrier_var(index);
	emit_push(*connection, t, &list->pushed[index & (LISTED_PUSHES - 1)], false);
	return 0;
}

static long emit_listed_array(__u32 index, struct connection **connection)
{
	struct trace_scratch *t = this_trace();
	struct reply_list *list = this_list();

	if (!t || !list)
		return 1;
	barrier_var(index);
	emit_push(*connection, t, &list->replies[index & (LISTED_REPLIES - 1)], true);
	return 0;
}

/* What the send pushed. */
__noinline int emit_pushes(struct connection *x)
{
	struct reply_list *list = this_list();

	if (!x || !list || !traces_pushes())
		return 0;
	bpf_loop(list->pushes, emit_listed_push, &x, 0);
	return 0;
}

/* The send ended inside a push. */
__noinline int capture_push(struct connection *x)
{
	struct trace_slot *slot;

	if (!x || !traces_pushes())
		return 0;
	slot = claimed_slot(x->id, PUSH_SEQUENCE);
	if (slot)
		return capture_beginning(slot);
	lose(KILN_LOST_TRACED_REQUESTS_WITHOUT_ROOM, 1);
	return 0;
}

/* The send has been matched and its answers are emitted: capture the response or push that it ended in. */
__noinline int capture_rest(struct connection *x, struct connection_details *c)
{
	__u32 zero = 0, batch, sequence, first;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);

	if (!x || !c || !r)
		return 0;
	if (!(x->flags & IN_REPLY) || !r->lists)
		return 0;
	if (in_unsolicited(&c->replies))
		return capture_push(x);
	batch = c->batch_head;
	barrier_var(batch);
	first = c->batches[batch & (PIPELINE_BATCHES - 1)].first;
	sequence = c->batches[batch & (PIPELINE_BATCHES - 1)].sequence + c->batch_answered;
	if (x->waiting == WAITING_ONE)
		sequence = first = x->sequence;
	return capture_reply(x, sequence, first);
}

/* A client subscribes, and messages are not marked. From here on sends are followed for messages only, if they were followed up to here. */
static __always_inline void note_subscriber(struct connection *x)
{
	if (x->flags & TRACED && !(x->flags & UNMATCHED) && traces_pushes())
		set_flags(x, SUBSCRIBER);
}

/* A send to a subscriber will be followed. */
__noinline int list_messages(struct response_reader *r)
{
	if (r)
		r->lists = true;
	return 0;
}

/* A send to a subscriber has been followed. */
__noinline int emit_messages(struct connection *x, struct connection_details *c, struct response_reader *r)
{
	struct reply_list *list = this_list();

	if (!x || !c || !r || !list)
		return 0;
	emit_pushes(x);
	bpf_loop(list->listed, emit_listed_array, &x, 0);
	lose(KILN_LOST_UNTRACED_PUSHES, list->unlisted);
	clear_flags(x, IN_REPLY);
	if (c->replies.state == STREAM_FAILED) {
		clear_flags(x, SUBSCRIBER);
		lose(KILN_LOST_UNTRACED_PUSHES, 1);
	} else if (!responses_at_boundary(&c->replies)) {
		set_flags(x, IN_REPLY);
		capture_push(x);
	}
	return 0;
}

#endif
