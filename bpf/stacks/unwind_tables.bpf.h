/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Address -> mapping of the process -> row of its file's unwind table. User space fills both. */
#ifndef KILN_UNWIND_TABLES_BPF_H
#define KILN_UNWIND_TABLES_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"

#define ROW_SEARCH_STEPS 9      /* a granule of 256 bytes has at most 256 rows */
#define MAPPING_SEARCH_STEPS 16 /* KILN_MAPPINGS_CAPACITY */

/* The table of one file in 8-byte cells; sizes differ. Written by user space before it is put in place, then constant. */
struct unwind_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

/* Key: table, from 1. Files that processes share have one. Full, or over its ceiling in all: a file without table. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, KILN_UNWIND_TABLES);
	__type(key, __u32);
	__array(values, struct unwind_table);
} unwind_tables SEC(".maps");

/* The code of one process: a struct kiln_mappings_header, then its mappings. Constant once in place, but for `checked`. */
struct process_mappings {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct kiln_mapping)); /* Linux 6.1 takes no map without types in place of one with */
};

/* Key: process. User space replaces the array of a process whose mappings changed; a running sample keeps the one it
 * found, because an array is freed only after the programs that could see it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, KILN_PROCESSES_CAPACITY);
	__type(key, __u32);
	__array(values, struct process_mappings);
} code_mappings SEC(".maps");

/* Global functions are verified once, by themselves: searches cost nothing where they are called. */

/* The index of the mapping that holds an address; 0: none. */
__noinline __u32 find_mapping(__u32 process, __u64 address)
{
	void *mappings = bpf_map_lookup_elem(&code_mappings, &process);
	const struct kiln_mappings_header *header;
	const struct kiln_mapping *mapping;
	__u32 low = 1, high, first = 0, step;

	if (!mappings)
		return 0;
	header = bpf_map_lookup_elem(mappings, &first);
	if (!header)
		return 0;
	high = header->count + 1;
	for (step = 0; step < MAPPING_SEARCH_STEPS; step++) {
		__u32 middle = (low + high) >> 1;

		if (low >= high)
			break;
		mapping = bpf_map_lookup_elem(mappings, &middle);
		if (!mapping)
			return 0;
		if (mapping->start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low <= 1)
		return 0;
	low--;
	mapping = bpf_map_lookup_elem(mappings, &low);
	return mapping && address < mapping->end ? low : 0;
}

/* The struct kiln_unwind_row for a pc as one word; 0: none. */
__noinline __u64 find_row(__u32 table, __u32 pc)
{
	void *cells = bpf_map_lookup_elem(&unwind_tables, &table);
	const struct kiln_unwind_granule *granule;
	__u32 index = pc >> KILN_UNWIND_GRANULE_SHIFT, low, high, step;
	const __u64 *row;

	if (!cells)
		return 0;
	granule = bpf_map_lookup_elem(cells, &index);
	if (!granule)
		return 0;
	low = granule->first;
	high = granule->end;
	for (step = 0; step < ROW_SEARCH_STEPS; step++) {
		__u32 middle = (low + high) >> 1;

		if (low >= high)
			break;
		row = bpf_map_lookup_elem(cells, &middle);
		if (!row)
			return 0;
		if ((__u32)*row <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	/* The row before may stand in an earlier granule. Before the first row lies the last granule, whose highest byte
	 * is 0 as a table has fewer than 2^24 cells: read as a row it says KILN_UNWIND_NONE. */
	low--;
	row = bpf_map_lookup_elem(cells, &low);
	return row ? *row : 0;
}

#endif
