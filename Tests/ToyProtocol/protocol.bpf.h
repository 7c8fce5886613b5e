/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef TOY_PROTOCOL_BPF_H
#define TOY_PROTOCOL_BPF_H

#include "common/bpf.h"
#include "requests/connections.bpf.h"
#include "requests/rows.bpf.h"
#include PROTOCOL_HEADER(scanner.bpf.h)

static __always_inline bool begins_request(__u8 first)
{
	return first > ' ' && first < 0x7f;
}

static __always_inline bool begins_response(const __u8 *b)
{
	return true;
}

static __always_inline bool begins_other_stream(__u64 base, __u32 length)
{
	return false;
}

static __always_inline __u32 responses_expected(struct connection *x, __u8 class, __u32 count)
{
	return count;
}

static __always_inline bool is_answered_once(__u8 class)
{
	return true;
}

static __always_inline bool defers_next(const struct connection *x)
{
	return false;
}

static __always_inline bool is_deferred(const struct connection *x, __u8 class)
{
	return false;
}

static __always_inline void note_class(struct connection *x, __u8 class) {}
static __always_inline void restart_expectations(struct connection *x) {}
static __always_inline void note_unsolicited(struct connection *x) {}

#endif
