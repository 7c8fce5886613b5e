/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Events in the life of a request. An observer is called at each; `trace` is one (trace/trace.bpf.h), and the other objects have none: then
 * every function below is empty and compiles to nothing.
 *
 *   on_*        an event; the observer may keep what it needs, and changes nothing that requests/ decides by
 *   observes_*  a question, answered at compile time without an observer: requests/ and sockets/ do more work if the answer is yes
 *
 * This file and trace/ alone know whether there is an observer. Below requests/responses, the scanners ask with
 * requests_are_single() and responses_are_listed(), and report each reply that they complete (note_response(), begin_piece(), end_piece()). */
#ifndef KILN_OBSERVER_BPF_H
#define KILN_OBSERVER_BPF_H

#include "requests/variant.h"

#if TRACING
#include "trace/trace_observer.bpf.h"
#else

#include "common/bpf.h"
#include "include/kiln_requests.h"
#include "requests/connection_details.bpf.h"
#include "requests/response_reader.bpf.h"

/* ---- calls: which one the events after it belong to ---------------------------------------------------------- */

/* The socket hooks see a call; `regs`: its registers, or NULL. */
static __always_inline void on_call_seen(struct place *place, const struct pt_regs *regs) {}
/* Hook syscall: as above, before the call's connection is known. */
static __always_inline void on_system_call(__u64 socket, __u32 fd) {}
/* Something of this call may be emitted: who made it will be asked. */
static __always_inline void on_call(const struct place *place) {}
static __always_inline void on_receive_at_socket(const struct place *place, const struct connection *x) {}
/* The call's socket carries this SSL object. */
static __always_inline void on_carrier(__u64 id) {}
/* A receive or send of an SSL object. */
static __always_inline void on_carried_call(__u64 id, struct kiln_client_key *client, __u32 process) {}
static __always_inline void on_carrier_ended(__u64 id) {}
/* Whether it matters that a send was incomplete where the connection is synced, too. */
static __always_inline bool observes_partial_sends(void)
{
	return false;
}

/* ---- connections --------------------------------------------------------------------------------------------- */

static __always_inline void on_connection(struct connection *x, const struct kiln_client_key *client) {}
static __always_inline void on_connection_freed(struct connection *x) {}
/* From here on no response of the connection is matched with a request. */
static __always_inline void on_unmatched(struct connection *x) {}
/* ... because unsolicited messages follow. */
static __always_inline void on_subscribed(struct connection *x) {}
/* Whether they are followed. */
static __always_inline bool observes_messages(const struct connection *x)
{
	return false;
}
static __always_inline void on_messages_sent(struct response_reader *r) {}
static __always_inline void on_messages(struct connection *x, struct connection_details *c, struct response_reader *r) {}

/* ---- requests ------------------------------------------------------------------------------------------------ */

static __always_inline void on_row(__u32 row, const struct kiln_command_key *key) {}
/* `count` requests found no room in the list of their receive's runs. */
static __always_inline void on_unlisted(__u32 row, __u32 count) {}
/* A receive of `bytes` is scanned next. */
static __always_inline void on_receive(const struct connection *x, struct request_reader *r, __u32 bytes) {}
/* Its runs are gone through next, if they are not one alone. */
static __always_inline void on_runs(const struct connection *x) {}
/* A run goes in flight, but for `unanswered` of its requests, of which no response is expected. */
static __always_inline void on_run(
	struct connection *x, struct request_reader *r, __u32 index, __u32 row, __u32 unanswered, const struct arrived *times)
{
}
/* The runs of a receive have been gone through. */
static __always_inline void on_runs_ended(struct connection *x) {}
/* ... and so many requests more, of which only the number is known. */
static __always_inline void on_runs_unlisted(struct connection *x, __u32 count) {}
static __always_inline void on_batch(struct batch *batch, __u32 sequence, __u32 first) {}
/* The only request of a receive goes in flight, or the only run. */
static __always_inline void on_single_request(struct connection *x, struct request_reader *r) {}
static __always_inline void on_single_run(struct connection *x, struct request_reader *r) {}
/* A receive ended inside a request. */
static __always_inline void on_request_begun(struct connection *x, struct request_reader *r) {}
/* Whether a run may go in flight as one entry of the connection, where its requests' places are not known. */
static __always_inline bool observes_each(__u32 row)
{
	return false;
}
/* Whether batches know the sequence of their first request. */
static __always_inline bool observes_sequences(void)
{
	return false;
}
/* Whether blocked requests are attributed to their blockers. A trace has no use for them, and its programs no room. */
static __always_inline bool observes_blocking(void)
{
	return true;
}

/* ---- responses ----------------------------------------------------------------------------------------------- */

/* A send is scanned next, of which the responses answer what is in flight. */
static __always_inline void on_responses(const struct connection *x, const struct connection_details *c, bool in_part) {}
/* A send is scanned next; `resumed`: it begins inside a response. */
static __always_inline void on_send(bool resumed) {}
/* A piece of it is; `vector` is the iovec after the piece's. */
static __always_inline void on_send_piece(__u64 vector) {}
static __always_inline void on_pushes(struct connection *x, const struct response_reader *r) {}
/* `count` requests of a run are answered. */
static __always_inline void on_run_answered(
	struct connection *x, struct connection_details *c, __u32 row, __u32 count, const struct batch *batch)
{
}
/* The only request in flight is answered. */
static __always_inline void on_single_answered(struct connection *x) {}
/* Requests that were not listed are answered. */
static __always_inline void on_unlisted_answered(__u32 count) {}
/* All that the send answered is known. */
static __always_inline void on_responses_ended(struct connection *x, struct connection_details *c) {}
/* The only request in flight is answered, by a send that is one whole response and no error. */
static __always_inline void on_only_response(const struct place *place, struct connection *x, __u64 buffer, __u32 bytes) {}
/* The only run in flight is answered, whole and without an error. */
static __always_inline void on_only_run_answered(struct connection *x) {}
/* Whether the responses to the only run in flight are emitted. */
static __always_inline bool observes_run(const struct connection *x)
{
	return false;
}
/* Whether a send has to be scanned again where it turns out not to answer the only run in flight, to know its responses' places. */
static __always_inline bool observes_responses(void)
{
	return false;
}

/* ---- asked by the scanners ----------------------------------------------------------------------------------- */

static __always_inline bool requests_are_single(const struct request_reader *r, __u32 command)
{
	return false;
}
static __always_inline bool responses_are_listed(const struct response_reader *r)
{
	return false;
}
static __always_inline void begin_piece(const struct response_reader *r) {}
static __always_inline void end_piece(const struct response_reader *r) {}
static __always_inline void note_response(struct response_reader *r, __u32 kind) {}

#endif

#endif
