/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* When a connection is synced: from its first byte, or from a boundary that an answered receive proves, until bytes are missed.
 *
 * If a process is not known to be a server of this protocol, a connection that doesn't begin as only this protocol does is synced when its
 * first response is of this protocol. Until then its bytes are kept unread: in many protocols requests are lines of words, and any word
 * may be a command's name. */
#ifndef KILN_SYNC_BPF_H
#define KILN_SYNC_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "include/kiln_requests.h"
#include "requests/connection_details.bpf.h"
#include "requests/io.bpf.h"
#include "requests/lifetimes.bpf.h"
#include "requests/losses.bpf.h"
#include "requests/matching.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/undecided.bpf.h"
#include "requests/watch.bpf.h"

#define PROBES_MAX 8 /* answered receives without one whole request, until a connection is given up */

/* ---- processes that may serve another protocol --------------------------------------------------------------- */

/* Keep the bytes of a receive until the first response. False: there is no room. */
__noinline int keep_undecided(struct connection *x, const struct receive *receive)
{
	struct undecided *kept, *fresh;
	__u32 zero = 0, before, length;
	__u64 id;

	if (!x || !receive)
		return false;
	id = x->id;
	length = receive->io.length;
	kept = bpf_map_lookup_elem(&undecided, &id);
	fresh = kept ? NULL : bpf_map_lookup_elem(&new_undecided, &zero);
	if (fresh) {
		bpf_map_update_elem(&undecided, &id, fresh, BPF_NOEXIST);
		kept = bpf_map_lookup_elem(&undecided, &id);
	}
	if (!kept)
		return false;
	before = kept->length;
	barrier_var(before);
	barrier_var(length);
	if (before >= WINDOW_BYTES || length > WINDOW_BYTES || before + length > WINDOW_BYTES)
		return false;
	if (bpf_probe_read_user(kept->bytes + before, length, (void *)receive->io.base)) {
		lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
		return false;
	}
	if (!before) {
		kept->received_ns = receive->io.returned_ns;
		kept->arrived_ns = receive->io.arrived_ns > ARRIVAL_UNKNOWN && receive->io.arrived_ns <= receive->io.returned_ns
			? receive->io.arrived_ns
			: 0;
	}
	kept->length = before + length;
	__sync_fetch_and_add(&control.undecided_bytes, length);
	return true;
}

/* Whether a send begins as a response does. */
__noinline int begins_as_response(const struct io *send)
{
	__u8 b[16] = {};
	__u32 length;

	if (!send)
		return false;
	length = send->length;
	if (length > sizeof b)
		length = sizeof b;
	barrier_var(length);
	if (length > sizeof b || bpf_probe_read_user(b, length, (void *)first_byte_of(send)))
		return false;
	return begins_response(b);
}

/* ---- boundaries ---------------------------------------------------------------------------------------------- */

/* The loss that a connection of another protocol counts as, by its first bytes: a TLS record begins with its type and major version 3. */
__noinline __u32 foreign_connection(__u64 buffer, __u32 length)
{
	__u8 start[2] = {};

	bpf_probe_read_user(start, length < 2 ? 1 : 2, (void *)buffer);
	return start[0] >= 0x14 && start[0] <= 0x17 && start[1] == 3 ? KILN_LOST_TLS_CONNECTIONS : KILN_LOST_OTHER_PROTOCOL_CONNECTIONS;
}

/* The connection loses sync: its stream is parsed without counting until a boundary is proven. */
__noinline int desync(struct connection *x)
{
	if (!x)
		return 0;
	if (x->sync == SYNC_UNDECIDED)
		lose_undecided(x->id);
	x->sync = RESYNCING;
	restart_expectations(x);
	clear_flags(x, IN_REQUEST | IN_REPLY | PROBED | REPLIED | SUBSCRIBER);
	if (x->waiting != WAITING_NONE)
		lose_match(x); /* what answers what is not known */
	return 0;
}

/* Resync a stream that was met in its middle. A receive proves a boundary at its end if the parse ends there and the server sends something
 * before it receives more: inside a value, whatever it looks like, a server has no reason to send. Bytes up to the boundary are not
 * counted as requests. */
__noinline int probe(struct connection *x, struct connection_details *c, const struct receive *receive)
{
	__u8 first = 0;
	bool replied, probed;

	if (!x || !c || !receive)
		return 0;
	replied = x->flags & REPLIED;
	probed = x->flags & PROBED;
	if (replied && probed && !(x->flags & (IN_REQUEST | SENT_IN_PART))) {
		x->sync = SYNCED;
		clear_flags(x, IN_REPLY);
		c->first_sent_ns = c->untimed = 0;
		c->head = c->tail = c->batch_head = c->batch_tail = c->batch_answered = 0;
		return 0;
	}
	if (!(x->flags & IN_REQUEST))
		return 0;
	if (c->requests.state < STREAM_FAILED) {
		/* Replies flow while the parse is inside something: it may be lost in a length that was never one. */
		if (!replied)
			return 0;
		bpf_probe_read_user(&first, 1, (void *)receive->io.base);
		if (!begins_request(first))
			return 0;
	} else if (replied && !probed && ++c->failed_probes >= PROBES_MAX) {
		/* A server answers, and never a whole request: another protocol, met in its middle. What comes after an answer begins a
		 * record, if it is TLS. */
		lose(foreign_connection(receive->io.base, receive->io.length), 1);
		x->sync = SYNC_IGNORED;
		return 0;
	}
	clear_flags(x, IN_REQUEST | PROBED);
	return 0;
}

/* Where a part of all receives is left out, waiting for a proof would leave out connections that are seldom used, and so bias what is estimated. A receive
 * that begins like a request is taken for one, and given up if it goes on otherwise: what would be taken wrongly is a piece of a value, cut in
 * front of a whole request that is in it. */
__noinline int resume(struct connection *x, struct receive *receive)
{
	__u8 first = 0;

	if (!x || !receive)
		return false;
	if (x->window != control.watch.window || receive->gap)
		x->waiting = WAITING_NONE;
	x->slice = control.watch.slice;
	x->window = control.watch.window;
	restart_expectations(x);
	clear_flags(x, IN_REQUEST | IN_REPLY | PROBED | REPLIED | SENT_IN_PART);
	bpf_probe_read_user(&first, sizeof first, (void *)receive->io.base);
	x->sync = begins_request(first) ? SYNCED : RESYNCING;
	receive->resumed = true;
	return x->sync == SYNCED;
}

/* The first receive of a connection. */
__noinline int meet(struct connection *x, const struct receive *receive, __u32 process)
{
	__u8 first = 0;

	if (!x || !receive)
		return 0;
	x->process = process;
	if (!receive->carried)
		x->client = client_row(&receive->client);
	on_connection(x, &receive->client);
	if (!CLIENT_SIDE && work_options.clients && wants_client(&receive->client))
		set_flags(x, TRACED);
	if (!receive->incoming)
		set_flags(x, OUTGOING);
	if (receive->unsupported)
		lose(KILN_LOST_UNSUPPORTED_CONNECTIONS, 1);
	if (receive->unsupported || !receive->incoming) {
		x->sync = SYNC_IGNORED;
		return 0;
	}
	if (!receive->first_of_stream || receive->io.loss) {
		desync(x);
		return 0;
	}
	if (foreign_connection(receive->io.base, receive->io.length) == KILN_LOST_TLS_CONNECTIONS) {
		lose(KILN_LOST_TLS_CONNECTIONS, 1);
		x->sync = SYNC_IGNORED;
		return 0;
	}
	if (begins_other_stream(receive->io.base, receive->io.length)) {
		x->sync = SYNC_IGNORED;
		return 0;
	}
	bpf_probe_read_user(&first, sizeof first, (void *)receive->io.base);
	x->sync = is_known_server(process) || begins_request(first) ? SYNCED : SYNC_UNDECIDED;
	return 0;
}

/* Prepare an uncommon receive: the first of its connection, one that doesn't continue the previous one, or one of a stream that is not at a
 * known boundary. False: its bytes can't be followed. */
static __noinline int take_up(const struct place *place, struct connection *x, struct receive *receive, __u32 process)
{
	struct connection_details *c;

	receive->first = x->sync == SYNC_UNKNOWN;
	if (receive->first)
		meet(x, receive, process);
	if (x->sync == SYNC_IGNORED)
		return false;
	if (receive->io.loss) {
		lose(receive->io.loss - 1, 1);
		desync(x);
		return false;
	}
	if (!receive->first && x->sync != SYNC_UNDECIDED && (!is_of_slice(x) || (is_sampled() && (x->sync == RESYNCING || receive->gap))))
		return resume(x, receive);
	if (receive->gap) {
		lose(KILN_LOST_RECEIVE_GAPS, 1);
		desync(x);
	}
	if (may_leave_out()) {
		x->slice = control.watch.slice;
		x->window = control.watch.window;
	}
	if (is_sampled() && receive->first && x->sync == RESYNCING)
		return resume(x, receive);
	if (!all_are_known_servers() && x->sync == SYNC_UNDECIDED) {
		if (!keep_undecided(x, receive)) {
			lose(KILN_LOST_UNSYNCHRONISED_BYTES, receive->io.length);
			desync(x);
		}
		return false;
	}
	if (x->sync != RESYNCING && !(x->flags & IN_REQUEST))
		return true;
	if (x->sync == RESYNCING && begins_other_stream(receive->io.base, receive->io.length)) {
		x->sync = SYNC_IGNORED;
		return false;
	}
	c = details_at(place);
	if (!c) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		desync(x);
		return false;
	}
	if (x->sync == RESYNCING)
		probe(x, c, receive);
	return x->sync != SYNC_IGNORED;
}

#endif
