/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of executed programs: what is captured of an execution, and how it goes to user space. */
#ifndef KILN_EXEC_RECORDS_BPF_H
#define KILN_EXEC_RECORDS_BPF_H

#include "common/bpf.h"
#include "exec/losses.bpf.h"
#include "include/kiln_exec.h"

const volatile struct kiln_exec_options exec_options SEC(".rodata.exec");

/* struct kiln_exec_record, cut behind its last byte, and struct kiln_exec_end. User space is never woken but looks 50 times a second; full:
 * executions_lost, program_ends_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KILN_EXEC_RING_BYTES);
} exec_ring SEC(".maps");

/* Scratch for the current record: these programs never interrupt each other. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kiln_exec_record);
} exec_scratch SEC(".maps");

#define BYTES_MASK (KILN_EXEC_ARGUMENT_BYTES - 1)

/* A record of the current task. */
static __always_inline struct kiln_exec_record *new_record(struct task_struct *task, __u32 kind)
{
	__u32 zero = 0;
	struct kiln_exec_record *r = bpf_map_lookup_elem(&exec_scratch, &zero);

	if (!r)
		return NULL;
	__builtin_memset(r, 0, __builtin_offsetof(struct kiln_exec_record, bytes));
	r->kind = kind;
	r->at_ns = bpf_ktime_get_ns();
	r->tgid = task->tgid;
	r->tid = task->pid;
	r->parent = BPF_CORE_READ(task, real_parent, tgid);
	r->user = BPF_CORE_READ(task, cred, uid.val);
	bpf_core_read(r->comm, sizeof r->comm, &task->comm);
	return r;
}

/* Of the arguments as the kernel has laid them out for the new program, one behind the other. */
static __always_inline void capture_new_arguments(struct kiln_exec_record *r, struct mm_struct *mm)
{
	__u64 begin = BPF_CORE_READ(mm, arg_start), bytes = BPF_CORE_READ(mm, arg_end) - begin, kept = bytes;

	r->argument_bytes = bytes;
	if (kept > exec_options.argument_bytes)
		kept = exec_options.argument_bytes;
	barrier_var(kept);
	if (kept > KILN_EXEC_ARGUMENT_BYTES)
		kept = KILN_EXEC_ARGUMENT_BYTES;
	if (bpf_probe_read_user(r->bytes, kept, (const void *)begin))
		r->flags |= KILN_EXEC_ARGUMENTS_LOST;
	else
		r->arguments_captured = kept;
}

struct argument_reading {
	__u64 vector;  /* the array of pointers */
	__u32 pointer; /* bytes of one */
	__u32 reserved;
};

static int capture_argument(__u32 index, struct argument_reading *reading)
{
	__u64 at = reading->vector + (__u64)index * reading->pointer, argument = 0;
	__u32 zero = 0, used;
	struct kiln_exec_record *r = bpf_map_lookup_elem(&exec_scratch, &zero);
	long read;

	if (!r)
		return 1;
	if (bpf_probe_read_user(&argument, reading->pointer == 4 ? 4 : 8, (const void *)at)) {
		r->flags |= KILN_EXEC_ARGUMENTS_LOST;
		return 1;
	}
	if (!argument)
		return 1;
	if (index == KILN_EXEC_ARGUMENTS) {
		r->flags |= KILN_EXEC_MORE_ARGUMENTS;
		return 1;
	}
	r->arguments = index + 1;
	used = r->arguments_captured;
	if (used >= exec_options.argument_bytes || r->flags & KILN_EXEC_ARGUMENTS_LOST)
		return 0;
	read = bpf_probe_read_user_str(r->bytes + (used & BYTES_MASK), KILN_EXEC_ARGUMENT_BYTES, (const void *)argument);
	if (read < 0) {
		r->flags |= KILN_EXEC_ARGUMENTS_LOST;
		return 0;
	}
	r->argument_bytes += read;
	used += read;
	r->arguments_captured = used < exec_options.argument_bytes ? used : exec_options.argument_bytes;
	return 0;
}

/* Of the arguments that a call was given: each has an address of its own. */
static __always_inline void capture_given_arguments(struct kiln_exec_record *r, __u64 vector, __u32 pointer)
{
	struct argument_reading reading = { .vector = vector, .pointer = pointer };

	if (vector)
		bpf_loop(KILN_EXEC_ARGUMENTS + 1, capture_argument, &reading, 0);
}

/* The path that was asked for, behind the arguments. `given`: it lies in the memory of the thread that made the call, otherwise in the kernel's. */
static __always_inline void capture_file(struct kiln_exec_record *r, const void *source, bool given)
{
	__u32 used = r->arguments_captured;
	long read;

	barrier_var(used);
	if (used > KILN_EXEC_ARGUMENT_BYTES)
		return;
	if (given)
		read = bpf_probe_read_user_str(r->bytes + used, KILN_EXEC_FILE_BYTES, source);
	else
		read = bpf_probe_read_kernel_str(r->bytes + used, KILN_EXEC_FILE_BYTES, source);
	if (read > 0)
		r->file_captured = read;
}

/* What runs a script, behind the path. */
static __always_inline void capture_interpreter(struct kiln_exec_record *r, const char *source)
{
	__u32 used = r->arguments_captured + r->file_captured;
	long read;

	barrier_var(used);
	if (used > KILN_EXEC_ARGUMENT_BYTES + KILN_EXEC_FILE_BYTES - KILN_EXEC_INTERPRETER_BYTES)
		return;
	read = bpf_probe_read_kernel_str(r->bytes + used, KILN_EXEC_INTERPRETER_BYTES, source);
	if (read > 0)
		r->interpreter_captured = read;
}

/* Bytes of the record as it is sent. */
static __always_inline __u64 record_bytes(const struct kiln_exec_record *r)
{
	__u64 bytes = r->arguments_captured + r->file_captured + r->interpreter_captured;

	barrier_var(bytes);
	if (bytes > sizeof r->bytes)
		bytes = sizeof r->bytes;
	return __builtin_offsetof(struct kiln_exec_record, bytes) + bytes;
}

static __always_inline bool send_record(struct kiln_exec_record *r)
{
	if (!bpf_ringbuf_output(&exec_ring, r, record_bytes(r), BPF_RB_NO_WAKEUP))
		return true;
	lose(KILN_LOST_EXEC_RING_FULL, 1);
	return false;
}

#endif
