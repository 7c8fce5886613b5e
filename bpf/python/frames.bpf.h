/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The frames of Python's interpreter, of the current thread.
 *
 * They are no frames of the machine's stack: one call of the interpreter runs any number of them. So they stand behind the user's frames, and
 * user space puts them in the places of the interpreter's calls.
 *
 * User space gives the offsets of the interpreter's fields (kiln_python.h). The interpreter may be changing its frames when they are read: a frame whose
 * code is not a code object ends them. */
#ifndef KILN_PYTHON_FRAMES_BPF_H
#define KILN_PYTHON_FRAMES_BPF_H

#include "common/bpf.h"
#include "include/kiln_python.h"
#include "include/kiln_stacks.h"
#include "stacks/losses.bpf.h"
#include "stacks/unwinding.bpf.h"
#include "stacks/user_memory.bpf.h"

#define PYTHON_THREADS 1024               /* that are looked at to find the current one */
#define OWNED_BY_C_STACK 3                /* enum _frameowner, since Python 3.12 */
#define WORD(offset) ((offset) >> 3 & 31) /* in the window, for the verifier */
#define BYTE(offset) ((offset)&255)

/* Key: the number of a process; user space writes it for those that run a Python which it knows. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KILN_PROCESSES_CAPACITY);
	__type(key, __u32);
	__type(value, struct kiln_python);
} python_processes SEC(".maps");

/* The context of bpf_loop has to lie on the stack; it points to the rest. */
struct python_context {
	struct unwinding *u;
	struct kiln_stack *stack;
	const struct kiln_python *python;
	__u64 thread_id;
};

static __always_inline long read_pointer(__u64 *to, __u64 address)
{
	return bpf_probe_read_user(to, sizeof *to, (void *)address);
}

static __always_inline void add_python_frame(struct unwinding *u, struct kiln_stack *stack, __u64 frame)
{
	__u32 next = u->next;

	stack->frames[next & (KILN_STACK_FRAMES - 1)] = frame;
	u->hash = kiln_mix(u->hash, frame);
	u->next = next + 1;
	stack->python_depth++;
}

static __always_inline long cut_python_frames(struct unwinding *u, struct kiln_stack *stack)
{
	add_python_frame(u, stack, KILN_PYTHON_CUT);
	lose(KILN_LOST_PYTHON_FRAMES, 1);
	u->python_at = 0;
	return 1;
}

/* One thread of the lists: leaves the current one's address in `python_at`, or 0 if there is none. */
static long find_python_thread(__u32 turn, struct python_context *context)
{
	struct unwinding *u = context->u;
	const struct kiln_python *python = context->python;
	__u64 id = 0;

	if (!u->python_at) {
		if (read_pointer(&u->python_interpreter, u->python_interpreter + python->next_interpreter))
			return cut_python_frames(u, context->stack);
		if (!u->python_interpreter)
			return 1;
		return read_pointer(&u->python_at, u->python_interpreter + python->first_thread) ? cut_python_frames(u, context->stack) : 0;
	}
	if (read_pointer(&id, u->python_at + python->thread_id))
		return cut_python_frames(u, context->stack);
	if (id == context->thread_id)
		return 1;
	if (read_pointer(&u->python_at, u->python_at + python->next_thread))
		return cut_python_frames(u, context->stack);
	return 0;
}

/* One frame. */
static long take_python_frame(__u32 turn, struct python_context *context)
{
	struct unwinding *u = context->u;
	struct kiln_stack *stack = context->stack;
	const struct kiln_python *python = context->python;
	const __u8 *bytes = (const __u8 *)u->window;
	__u64 at = u->python_at, code, hash, frame = 0;
	__u32 line;

	if (!at) /* without the outermost call of the interpreter, a generator's frame has just been unlinked, or not been linked yet */
		return !stack->python_depth || stack->frames[(u->next - 1) & (KILN_STACK_FRAMES - 1)] & KILN_PYTHON_ENTRY
			? 1
			: cut_python_frames(u, stack);
	if (stack->python_depth >= KILN_PYTHON_DEPTH - 1 || bpf_probe_read_user(u->window, KILN_PYTHON_FRAME_BYTES, (void *)at))
		return cut_python_frames(u, stack);
	code = u->window[WORD(python->code)];
	u->python_at = u->window[WORD(python->previous)];
	if (python->is_entry) {
		if (bytes[BYTE(python->is_entry)])
			frame = KILN_PYTHON_ENTRY;
	} else if (bytes[BYTE(python->owner)] == OWNED_BY_C_STACK) {
		add_python_frame(u, stack, KILN_PYTHON_ENTRY);
		return 0;
	}
	if (code & 7 || bpf_probe_read_user(u->window, KILN_PYTHON_CODE_BYTES, (void *)code) ||
		u->window[WORD(python->type)] != python->code_type || read_pointer(&hash, u->window[WORD(python->name)] + python->hash))
		return cut_python_frames(u, stack);
	line = *(const __u32 *)(bytes + (BYTE(python->line) & ~3U));
	frame |= kiln_python_frame(code, hash, u->window[WORD(python->qualified_name)], u->window[WORD(python->file)], line);
	add_python_frame(u, stack, frame);
	return 0;
}

/* Puts them behind the user's frames, which are in place; stack->key.hash goes on over them. */
static __noinline void take_python_frames(struct kiln_stack *stack, struct unwinding *u)
{
	__u32 process;
	struct python_context context = { .u = u, .stack = stack };
	__u64 holder;

	stack->python_depth = 0;
	/* Of another task than the current one only the stack can be read. */
	if (!stack->user_depth || u->copied_bytes || stack->end == KILN_END_COMPAT_32_BIT)
		return;
	process = u->process;
	context.python = bpf_map_lookup_elem(&python_processes, &process);
	if (!context.python || bpf_core_read(&context.thread_id, sizeof context.thread_id, &task_of(u)->thread.fsbase))
		return;
	u->hash = stack->key.hash;
	u->window_at = -1ULL << 40; /* the window is used for what is read here */
	u->python_at = u->python_interpreter = 0;
	if (read_pointer(&u->python_interpreter, context.python->first_interpreter)) {
		cut_python_frames(u, stack);
	} else if (!u->python_interpreter) { /* no interpreter yet, or no more */
		return;
	} else if (read_pointer(&u->python_at, u->python_interpreter + context.python->first_thread)) {
		cut_python_frames(u, stack);
	} else if (bpf_loop(PYTHON_THREADS, find_python_thread, &context, 0) >= PYTHON_THREADS) {
		cut_python_frames(u, stack);
	}
	/* A thread that isn't Python's has no frames. */
	if (u->python_at) {
		holder = u->python_at;
		if (context.python->c_frame && read_pointer(&holder, holder + context.python->c_frame))
			cut_python_frames(u, stack);
		else if (read_pointer(&u->python_at, holder + context.python->last_frame))
			cut_python_frames(u, stack);
		else
			bpf_loop(KILN_PYTHON_DEPTH + 1, take_python_frame, &context, 0);
	}
	stack->key.hash = u->hash;
}

#endif
