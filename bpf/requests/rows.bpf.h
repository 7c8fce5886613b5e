/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The row that a command counts in: by process, name and, where its arguments make it another thing, variant. */
#ifndef KILN_ROWS_BPF_H
#define KILN_ROWS_BPF_H

#include "common/bpf.h"
#include "requests/control.bpf.h"
#include "requests/observer.bpf.h"
#include "requests/phases.bpf.h"
#include "requests/readers.bpf.h"
#include "work/verdicts.bpf.h"

/* Key: struct kiln_command_key; value: row. Written here when a name is first seen; when it is full, or when
 * command_stats has no row left, commands count in their process's `other`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_COMMAND_CAPACITY);
	__type(key, struct kiln_command_key);
	__type(value, __u32);
} command_ids SEC(".maps");

/* Key: struct kiln_command_name, of each command that a server's own list has; value: its enum kiln_command_class. Written by user space
 * before attaching. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_COMMAND_CAPACITY);
	__type(key, struct kiln_command_name);
	__type(value, __u32);
} listed_commands SEC(".maps");

const volatile __u32 command_capacity SEC(".rodata.commands") = KILN_COMMAND_CAPACITY;

static __always_inline void classify(__u32 row, const struct kiln_command_key *key, const __u32 *listed)
{
	__u32 class = key->variant;

	if (!class && listed)
		class = *listed;
	barrier_var(row);
	control.row_classes[row & (KILN_COMMAND_CAPACITY - 1)] = class;
	want_row(row, key);
	on_row(row, key);
}

/* A row that nobody has; command_capacity: there is none. Names that no list has (a typo's, a scanner's, but a renamed command's and a
 * module's, too) get a part of the rows, so that they leave some to the others, however many they are. */
static __always_inline __u32 take_row(bool listed)
{
	__u32 most = command_capacity / KILN_UNLISTED_SHARE;

	if (control.rows_taken + KILN_MAX_TARGETS >= command_capacity)
		return command_capacity;
	if (!listed && (control.unlisted_rows_taken >= most || __sync_fetch_and_add(&control.unlisted_rows_taken, 1) >= most))
		return command_capacity;
	return __sync_fetch_and_add(&control.rows_taken, 1) + KILN_MAX_TARGETS;
}

static __noinline __u32 command_row(const struct kiln_command_key *key)
{
	__u32 *known = bpf_map_lookup_elem(&command_ids, key), *listed, row;

	if (known)
		return *known;
	listed = bpf_map_lookup_elem(&listed_commands, key->name);
	row = take_row(listed);
	if (row < command_capacity)
		classify(row, key, listed);
	if (row >= command_capacity || bpf_map_update_elem(&command_ids, key, &row, BPF_NOEXIST)) {
		known = bpf_map_lookup_elem(&command_ids, key); /* another CPU was first */
		if (known)
			return *known;
		lose(KILN_LOST_COMMANDS_MAP_FULL, 1);
		return key->process & (KILN_MAX_TARGETS - 1);
	}
	return row;
}

static __always_inline void count_unlisted(__u32 command, __u32 count)
{
	struct kiln_command_stats *stats = bpf_map_lookup_elem(&command_stats, &command);

	if (stats)
		stats->calls += count;
	lose(KILN_LOST_UNTIMED_COMMANDS, count);
	on_unlisted(command, count);
}

/* Key: struct kiln_client_key; value: row. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_CLIENT_CAPACITY);
	__type(key, struct kiln_client_key);
	__type(value, __u32);
} clients SEC(".maps");

/* Key: row; value: what came from clients of that address and went to them, one for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_CLIENT_CAPACITY);
	__type(key, __u32);
	__type(value, struct kiln_client_stats);
} client_stats SEC(".maps");

/* Looked up once for each connection. */
__noinline __u32 client_row(const struct kiln_client_key *client)
{
	struct kiln_client_key copy, *key = &copy; /* Linux 6.1 takes no key from a global function's argument */
	__u32 *known, row;

	if (!client)
		return 0;
	copy = *client;
	known = bpf_map_lookup_elem(&clients, key);
	if (known)
		return *known;
	row = control.clients_taken + KILN_MAX_TARGETS;
	if (row < KILN_CLIENT_CAPACITY)
		row = __sync_fetch_and_add(&control.clients_taken, 1) + KILN_MAX_TARGETS;
	if (row >= KILN_CLIENT_CAPACITY || bpf_map_update_elem(&clients, key, &row, BPF_NOEXIST)) {
		known = bpf_map_lookup_elem(&clients, key); /* another CPU was first */
		if (known)
			return *known;
		lose(KILN_LOST_CLIENTS_MAP_FULL, 1);
		return key->process;
	}
	return row;
}

#endif
