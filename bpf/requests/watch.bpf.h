/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which part of the requests is watched, in a session with a budget (struct kiln_watch): a share of the connections, chosen anew in each slice of
 * time, or a part of the time, in which the programs are attached. Sessions that watch everything have none of this code.
 *
 *   slice   a share was chosen; connections are taken up anew. What is in flight on them still waits for its reply.
 *   window  the programs were attached; nothing that was known before holds any more
 *   closed  no more receives are watched, and what is in flight may still be answered, before the programs are detached
 *
 * A receive that isn't watched ends what its thread executed, as any receive does, and says that the thread's work isn't known. */
#ifndef KILN_WATCH_BPF_H
#define KILN_WATCH_BPF_H

#include "common/bpf.h"
#include "requests/control.bpf.h"
#include "requests/connections.bpf.h"
#include "requests/variant.h"

const volatile __u32 watch_varies SEC(".rodata.watch");

/* A constant when the verifier runs. */
static __always_inline bool may_leave_out(void)
{
	return !CLIENT_SIDE && !TRACING && watch_varies;
}

/* A part is left out at present, or was in this slice. */
static __always_inline bool is_sampled(void)
{
	return may_leave_out() && control.watch.sampled;
}

/* Whether the connection belongs to the share. `id`: as in struct connection. */
static __always_inline bool is_in_share(__u64 id)
{
	return ((id ^ control.watch.salt) * 0x9E3779B97F4A7C15ULL >> 32) < control.watch.share;
}

/* Whether receives of this connection are left out. */
static __always_inline bool leaves_out(__u64 id)
{
	return may_leave_out() && (control.watch.closed || !is_in_share(id));
}

/* Whether a send of the connection is of no interest: nothing that was received in this window waits for its reply. */
static __always_inline bool leaves_out_send(const struct connection *x)
{
	if (!may_leave_out())
		return false;
	if (!x)
		return true;
	barrier_var(x); /* it isn't taken from where it was before it was checked */
	return x->window != control.watch.window || (x->waiting == WAITING_NONE && leaves_out(x->id));
}

/* Whether what arrives at a socket is of no interest. Of encrypted connections it depends on the SSL object, which isn't known here. */
static __always_inline bool leaves_out_arrival(__u64 id)
{
	return may_leave_out() && !control.watch.has_tls && leaves_out(id);
}

/* Whether what is known of a connection is of this slice. */
static __always_inline bool is_of_slice(const struct connection *x)
{
	return !may_leave_out() || x->slice == control.watch.slice;
}

/* All connections are watched, so that it is known what each command waited for. */
static __always_inline bool watches_all_connections(void)
{
	return !may_leave_out() || control.watch.share == KILN_WATCH_ALL;
}

/* The number that says of a note that it is of this slice; never 0. */
static __always_inline __u64 slice_mark(void)
{
	return may_leave_out() ? (__u64)control.watch.slice + 1 : 1;
}

#endif
