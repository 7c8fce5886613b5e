/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which calls are asked for (where only some calls' stacks are kept), and the band of a call's latency. */
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
		if (wanted->family == client->family &&
			((const volatile __u64 *)wanted->address)[0] == ((const __u64 *)client->address)[0] &&
			((const volatile __u64 *)wanted->address)[1] == ((const __u64 *)client->address)[1])
			return true;
	}
	return false;
}

static __always_inline __u64 threshold_of(__u32 row)
{
	const __u64 *own = bpf_map_lookup_elem(&thresholds, &row);

	return own && *own ? *own : work_options.slower_than_ns;
}

/* Whether calls of a connection can be asked for, by what is known when they are received. Of blocking commands the service is a wait that the
 * client asked for. */
static __always_inline bool may_be_kept(const struct connection *x, __u32 row)
{
	__u8 class = row_class(row);

	return class != KILN_CLASS_UNTIMED && class != KILN_CLASS_BLOCKING && !(x->flags & UNMATCHED) &&
		threshold_of(row) != KILN_NO_THRESHOLD && (!work_options.clients || x->flags & TRACED);
}

/* Whether a reply will tell the latency of a connection's calls, by what is known when they are received. */
static __always_inline bool may_have_latency(const struct connection *x, __u32 row)
{
	__u8 class = row_class(row);

	if (x->flags & (UNMATCHED | MAY_GET_NO_RESPONSE))
		return false;
	return row == KILN_LABEL_SEVERAL || (class != KILN_CLASS_UNTIMED && class != KILN_CLASS_BLOCKING);
}

/* The label of a call. It has KILN_VERDICT_LEFT_OUT if the call's stacks wait for no reply. `row`: KILN_LABEL_SEVERAL: of different commands. */
static __always_inline __u16 call_label(const struct connection *x, __u16 activity, __u32 row)
{
	__u16 label = KILN_LABEL(activity, row);

	if (work_options.judged ? row != KILN_LABEL_SEVERAL && !may_be_kept(x, row) : !may_have_latency(x, row))
		label |= KILN_VERDICT_LEFT_OUT << KILN_LABEL_VERDICT_SHIFT;
	return label;
}

/* From when on a call's stacks are certain to be kept if it is still executed then; 0: its reply decides. Calls that take long have more different
 * stacks than can be held. `label`: what its thread does. */
static __always_inline __u64 kept_from(__u16 label, __u64 received_ns)
{
	__u32 row = kiln_label_row(label);

	if (!work_options.judged || work_options.errors_only || row == KILN_LABEL_SEVERAL || label != KILN_LABEL(KILN_ACTIVITY_EXEC, row))
		return 0;
	return received_ns + threshold_of(row);
}

static __always_inline __u32 verdict_on(const struct connection *x, __u32 row, __u64 received_ns, bool are_errors)
{
	if (!work_options.judged)
		return KILN_VERDICT_NONE;
	if (!may_be_kept(x, row) || x->sent_ns < received_ns || (work_options.errors_only && !are_errors))
		return KILN_VERDICT_LEFT_OUT;
	if (!work_options.has_threshold)
		return KILN_VERDICT_NONE;
	return x->sent_ns - received_ns >= threshold_of(row) ? KILN_VERDICT_SLOW : KILN_VERDICT_FAST;
}

/* Of a call that has been answered; 0: it is not known. */
static __always_inline __u64 service_of_call(const struct connection *x, __u32 row, __u64 received_ns)
{
	return may_have_latency(x, row) && x->sent_ns > received_ns ? x->sent_ns - received_ns : 0;
}

#endif
