/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A connection whose responses can't be matched with requests any more. */
#ifndef KILN_UNMATCHED_BPF_H
#define KILN_UNMATCHED_BPF_H

#include "common/bpf.h"
#include "requests/connections.bpf.h"
#include "requests/losses.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/variant.h"
#include "requests/watch.bpf.h"

/* From here on no response of this connection is matched with a request. */
__noinline int unmatch(struct connection *x)
{
	if (!x || x->flags & UNMATCHED)
		return 0;
	set_flags(x, UNMATCHED);
	x->waiting = WAITING_NONE;
	lose(KILN_LOST_UNMATCHED_CONNECTIONS, 1);
	on_unmatched(x);
	return 0;
}

/* The connection's responses don't fit its requests. Where a part is left out, requests in flight may not have been seen: then the connection is taken
 * up again at its next request. */
#if CLIENT_SIDE || TRACING
/* Nothing is left out, and a trace has no room for another call: Linux 6.1 allows 512 bytes of stack, and rounds each call's up to 32. */
static __always_inline int lose_match(struct connection *x)
{
	return unmatch(x);
}
#else
__noinline int lose_match(struct connection *x)
{
	if (!x)
		return 0;
	if (!is_sampled())
		return unmatch(x);
	x->waiting = WAITING_NONE;
	if (x->sync == SYNCED)
		x->sync = RESYNCING;
	clear_flags(x, IN_REQUEST | IN_REPLY);
	return 0;
}
#endif

#endif
