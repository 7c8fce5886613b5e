/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The client's side of a connection: sends carry requests, receives carry responses. Scanners, matching and rows are those of the server's
 * side. A command's latency is the time from the return of the send that took its last byte to the return of the receive that brought
 * its response's last byte.
 *
 * Followed are stream connections that the process opened, and whose first bytes are a request. What was opened before the session
 * is followed from its first exchange that passes alone: whole requests sent, and then as many whole replies received, no
 * fewer and no more. Bytes up to there are unsynchronised_bytes. A client that always has requests outstanding, with
 * neither end nor pause, may be synced wrongly; surplus responses show that, and unmatch the connection. */
#ifndef KILN_CLIENT_BPF_H
#define KILN_CLIENT_BPF_H

#include "common/bpf.h"
#include "requests/commands.bpf.h"

/* The first event of a connection: its peer and direction become known. */
__noinline int client_meets(struct connection *x, const struct kiln_client_key *server, bool incoming, bool is_new)
{
	if (!x || !server)
		return 0;
	x->process = server->process;
	x->client = client_row(server);
	set_flags(x, PEER_KNOWN | (incoming ? 0 : OUTGOING) | (is_new ? STREAM_START : 0));
	return 0;
}

/* The first send of a connection, or its first receive where that was not seen. */
static __always_inline void client_begins(struct connection *x)
{
	if (x->sync != SYNC_UNKNOWN)
		return;
	x->sync = !(x->flags & OUTGOING) ? SYNC_IGNORED : x->flags & STREAM_START ? SYNCED : RESYNCING;
}

/* The first bytes that are sent on a connection. False: they are of another protocol. */
__noinline int begins_with_request(struct connection *x, const struct io *send)
{
	__u64 buffer;
	__u8 first = 0;

	if (!x || !send)
		return false;
	clear_flags(x, STREAM_START);
	buffer = first_byte_of(send);
	/* What can't be read can't be followed either, which is counted then. */
	if (!buffer || bpf_probe_read_user(&first, sizeof first, (void *)buffer) || begins_request(first))
		return true;
	lose(foreign_connection(buffer, send->length), 1);
	x->sync = SYNC_IGNORED;
	return false;
}

/* The requests of the next piece of a send, wherever they are cut. */
static long follow_requests(__u32 index, struct io_pieces *pieces)
{
	struct connection_details *c = pieces->context;
	__u32 zero = 0;
	struct request_reader *r = bpf_map_lookup_elem(&request_readers, &zero);
	__u64 base = 0;
	long length;

	if (!r || !pieces->left)
		return 1;
	length = next_piece(pieces, &base);
	if (length < 0) {
		c->requests.state = STREAM_LOST;
		return 1;
	}
	if (!length)
		return 0;
	resume_piece(r, &c->requests, base, length);
	read_requests(r, &c->requests);
	return c->requests.state >= STREAM_FAILED;
}

/* The requests of a send await their replies, or are counted where nothing does; they are in this CPU's reader. */
__noinline int await_requests(struct connection *x, struct connection_details *c, __u64 handed_over_ns)
{
	struct arrived times = { 0, handed_over_ns };
	struct request_reader *r;
	__u32 zero = 0;

	if (!x || !c)
		return 0;
	r = bpf_map_lookup_elem(&request_readers, &zero);
	if (!r)
		return 0;
	if (!r->counting) {
		c->probed += r->commands_noted + r->run_count;
		return 0;
	}
	count_receive(x->client, r, 0);
	if (!r->run_count)
		return 0;
	note_run(r);
	if (x->flags & UNMATCHED)
		count_runs(x, r, &times);
	else
		await_runs(x, r, c, &times);
	return 0;
}

/* The requests of a send of any form. What can't be followed is counted, and leaves the stream failed or lost. */
static __always_inline void client_follows(
	struct connection *x, struct connection_details *c, struct request_reader *r, const struct io *send, __u64 handed_over_ns)
{
	struct io_pieces pieces = { c, 0, send->length, send->form };

	start_commands(r);
	if (!(x->flags & IN_REQUEST))
		restart_requests(&c->requests);
	if (send->form == IO_UNKNOWN) {
		lose(KILN_LOST_UNSUPPORTED_SENDS, 1);
		c->requests.state = STREAM_LOST;
		return;
	}
	pieces.vectors = vectors_of(send);
	bpf_loop(IOVECS_MAX, follow_requests, &pieces, 0);
	change_flags(x, IN_REQUEST, !requests_at_boundary(&c->requests));
	await_requests(x, c, handed_over_ns);
}

/* One small command alone in its send, where nothing waits: 1; then no state of the stream was needed. */
__noinline int client_sends_one(struct connection *x, const struct io *send, __u64 handed_over_ns)
{
	struct arrived times = { 0, handed_over_ns };
	struct request_reader *r;
	__u32 zero = 0, command;

	if (!x || !send || send->form != IO_BYTES || x->waiting != WAITING_NONE)
		return 0;
	r = bpf_map_lookup_elem(&request_readers, &zero);
	if (!r || read_run(r, send->base, send->length) != READ_ONE_RUN || r->run_count != 1)
		return 0;
	command = r->run_command;
	if (!is_answered_once(row_class(command)))
		return 0;
	count_receive(x->client, r, 0);
	count_calls(x, command, 1, r->run_largest, &times);
	await_one(x, command, &times);
	asm volatile("" ::: "memory"); /* a receive on another CPU sees the rest before it sees that one waits */
	x->waiting = WAITING_ONE;
	return 1;
}

/* The stream is not known any more, from this send on, or this receive that is followed as one: nothing counts until an exchange has passed
 * alone. */
__noinline int client_loses_track(struct connection *x, struct connection_details *c, const struct io *send)
{
	if (!x || !c || !send)
		return 0;
	if (x->sync == RESYNCING && ++c->failed_probes >= PROBES_MAX) {
		lose(foreign_connection(first_byte_of(send), send->length), 1);
		x->sync = SYNC_IGNORED;
		return 0;
	}
	desync(x);
	clear_flags(x, IN_REPLY);
	c->probed = 0;
	return 0;
}

static __always_inline void client_sends(const struct place *place, struct connection *x, const struct io *send)
{
	__u32 zero = 0;
	struct request_reader *r = bpf_map_lookup_elem(&request_readers, &zero);
	__u64 now = send->returned_ns ? send->returned_ns : bpf_ktime_get_ns();
	struct connection_details *c;

	client_begins(x);
	if (!r || x->sync == SYNC_IGNORED)
		return;
	if (x->flags & STREAM_START && !begins_with_request(x, send))
		return;
	r->process = x->process | (__u32)x->client << KILN_SERVER_SHIFT;
	r->counting = x->sync == SYNCED;
	if (r->counting)
		count_send(x->client, send->length);
	else
		lose(KILN_LOST_UNSYNCHRONISED_BYTES, send->length);
	if (r->counting && !(x->flags & (IN_REQUEST | UNMATCHED | MAY_GET_NO_RESPONSE)) && client_sends_one(x, send, now))
		return;
	c = details_at(place);
	if (!c) {
		lose(KILN_LOST_CONNECTIONS_WITHOUT_STATE, 1);
		desync(x);
		return;
	}
	/* What was sent before has been answered, and not as awaited, or there would be counting. */
	if (x->sync == RESYNCING && x->flags & REPLIED) {
		clear_flags(x, IN_REQUEST | IN_REPLY | PROBED | REPLIED);
		c->probed = 0;
	}
	client_follows(x, c, r, send, now);
	if (c->requests.state >= STREAM_FAILED) {
		if (c->requests.state == STREAM_FAILED && r->counting)
			lose(KILN_LOST_PROTOCOL_ERRORS, 1);
		client_loses_track(x, c, send);
	} else if (x->sync == RESYNCING && c->probed) {
		set_flags(x, PROBED);
	}
	if (x->waiting != WAITING_ONE)
		x->received_ns = now;
}

/* A receive while nothing counts. As many whole replies as requests were sent, and nothing before or behind them: what
 * is sent next begins with a request, and nothing is outstanding. */
__noinline int client_proves(struct connection *x, struct connection_details *c, const struct io *replies)
{
	__u32 zero = 0;
	struct response_reader *r = bpf_map_lookup_elem(&response_readers, &zero);

	if (!x || !c || !replies || !r || !(x->flags & PROBED))
		return 0;
	if (!(x->flags & IN_REPLY))
		__builtin_memset(&c->replies, 0, sizeof c->replies);
	read_send(c, replies);
	set_flags(x, REPLIED | IN_REPLY);
	if (c->replies.state == STREAM_FAILED || r->errors_listed || r->replies > c->probed) {
		client_loses_track(x, c, replies);
		return 0;
	}
	c->probed -= r->replies;
	if (c->probed || !responses_at_boundary(&c->replies) || x->flags & IN_REQUEST)
		return 0;
	x->sync = SYNCED;
	clear_flags(x, PROBED | REPLIED | IN_REPLY);
	x->waiting = WAITING_NONE;
	c->failed_probes = 0;
	c->first_sent_ns = c->untimed = 0;
	c->head = c->tail = c->batch_head = c->batch_tail = 0;
	return 0;
}

/* A send of which not even the length is known. */
static __always_inline void client_misses(struct connection *x)
{
	client_begins(x);
	if (x->sync == SYNC_IGNORED)
		return;
	lose(KILN_LOST_UNSUPPORTED_SENDS, 1);
	desync(x);
	clear_flags(x, IN_REPLY | STREAM_START);
}

static __always_inline void client_receives(const struct place *place, struct connection *x, struct receive *receive)
{
	const struct io *replies = &receive->io;
	struct kiln_client_stats *stats;
	struct connection_details *c;
	__u32 server = x->client;

	client_begins(x);
	if (x->sync == SYNC_IGNORED)
		return;
	if (receive->tcp && !receive->io.loss && x->copied_seq && !continues(x, receive)) {
		lose(KILN_LOST_RECEIVE_GAPS, 1);
		desync(x);
	}
	x->copied_seq = receive->copied_seq;
	if (receive->io.loss) {
		lose(receive->io.loss - 1, 1);
		desync(x);
		return;
	}
	if (x->sync == RESYNCING) {
		c = x->flags & PROBED ? details_at(place) : NULL;
		if (c)
			client_proves(x, c, replies);
		return;
	}
	x->sent_ns = receive->io.returned_ns;
	stats = bpf_map_lookup_elem(&client_stats, &server);
	if (stats)
		stats->received_bytes += receive->io.length;
	if (x->flags & UNMATCHED)
		return;
	if (x->waiting == WAITING_ONE && !(x->flags & IN_REPLY) && sends_one_response(replies))
		record_answer(x, x->sent_ns, receive->io.length, false);
	else
		send_responses(place, x, replies);
}

/* ---- either side -------------------------------------------------------------------------------------------- */

static __always_inline void side_receives(
	const struct place *place, struct connection *x, struct receive *receive, struct task_struct *task, __u32 process)
{
	if (CLIENT_SIDE)
		client_receives(place, x, receive);
	else
		connection_receives(place, x, receive, task, process);
}

static __always_inline void side_sends(const struct place *place, struct connection *x, const struct io *send, struct task_struct *task)
{
	if (CLIENT_SIDE)
		client_sends(place, x, send);
	else
		connection_sends(place, x, send, task);
}

#endif
