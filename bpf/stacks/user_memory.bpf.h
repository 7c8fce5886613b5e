/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The memory of the process whose stack is unwound. Part of unwind.bpf.h.
 *
 * The current process's memory is read where it is. Only a program that may sleep can read another process's, and that not inside of the
 * unwinder, whose global functions take no task: a copy of its stack is made before. Its code is not copied, and can't be read. */
#ifndef KILN_USER_MEMORY_BPF_H
#define KILN_USER_MEMORY_BPF_H

#include "common/bpf.h"
#include "include/kiln_stacks.h"
#include "stacks/unwinding.bpf.h"

/* The innermost part of a stack. The session's user space alone fills it, a task at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[KILN_STACK_COPY_BYTES]);
} stack_copy SEC(".maps");

static __always_inline struct task_struct *task_of(const struct unwinding *u)
{
	return (struct task_struct *)u->task;
}

/* As bpf_probe_read_user(). */
static __always_inline long read_user(struct unwinding *u, void *to, __u32 size, __u64 address)
{
	__u64 offset;
	__u32 zero = 0;
	__u8 *copy;

	if (!u->copied_bytes)
		return bpf_probe_read_user(to, size, (void *)address);
	offset = address - u->copied_at;
	copy = bpf_map_lookup_elem(&stack_copy, &zero);
	if (!copy || offset >= KILN_STACK_COPY_BYTES - size || offset + size > u->copied_bytes)
		return -1;
	return bpf_probe_read_kernel(to, size, copy + offset);
}

#endif
