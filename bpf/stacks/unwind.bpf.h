/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* User stacks from unwind tables: no frame pointers, no copy of the stack.
 *
 * For each frame: pc -> mapping of the process -> row of its file's table (kiln_unwind.h) -> where the caller's frame
 * starts, its return address and its frame pointer. Addresses repeat from sample to sample: what one resolved to is
 * remembered for each CPU (on redis-server 96 % of all frames are found there, at 99 Hz as at 999 Hz).
 *
 * Code without a row (generated code, code without call frame information) is followed by guesses: guesses.bpf.h.
 * A stack that can't be followed to its end keeps the frames it has, and says why it ended.
 *
 * Needs Linux 5.17 (bpf_loop). */
#ifndef KILN_UNWIND_BPF_H
#define KILN_UNWIND_BPF_H

#include "common/bpf.h"
#include "stacks/unwinding.bpf.h"
#include "stacks/unwind_tables.bpf.h"
#include "stacks/code_bytes.bpf.h"
#include "stacks/guesses.bpf.h"
#include "stacks/mapped_code.bpf.h"
#include "stacks/probed_returns.bpf.h"
#include "stacks/stack_words.bpf.h"

static __always_inline long ended(struct unwinding *u, __u32 end)
{
	u->end = end;
	return 1;
}

/* The value of a register at the sample, by its DWARF number (System V ABI for x86-64, figure 3.36). */
static __always_inline __u64 sampled_register(const struct pt_regs *regs, int number)
{
	switch (number) {
	case 0:
		return regs->ax;
	case 1:
		return regs->dx;
	case 2:
		return regs->cx;
	case 3:
		return regs->bx;
	case 4:
		return regs->si;
	case 5:
		return regs->di;
	case 6:
		return regs->bp;
	case 7:
		return regs->sp;
	case 8:
		return regs->r8;
	case 9:
		return regs->r9;
	case 10:
		return regs->r10;
	case 11:
		return regs->r11;
	case 12:
		return regs->r12;
	case 13:
		return regs->r13;
	case 14:
		return regs->r14;
	case 15:
		return regs->r15;
	}
	return 0;
}

/* User space has to know where the code lay, to name it. Equal addresses of other code are another stack. */
static __always_inline void note_found_code(struct unwinding *u)
{
	__u32 i;

	for (i = 0; i < KILN_FOUND_CODE; i++) {
		if (i >= u->found_count)
			break;
		if (u->found[i].start == u->mapping.start)
			return;
	}
	u->hash = kiln_mix(u->hash, u->mapping.piece);
	if (i >= KILN_FOUND_CODE)
		return;
	u->found[i].start = u->mapping.start;
	u->found[i].end = u->mapping.end;
	u->found[i].number = u->mapping.piece;
	u->found_count = i + 1;
}

/* Whether a mapping that user space gave is the one that the kernel has. `now`: what find_code() found; `why`: what it returned. */
static __always_inline bool is_as_given(struct kiln_mapping *given, const struct kiln_mapping *now, int why)
{
	bool is_generated = !given->table && given->granules == KILN_GENERATED_CODE;

	if (why == KILN_END_NOT_CODE) /* the kernel may just be changing it */
		return true;
	if (!why && now->piece)
		return given->piece == now->piece && given->bias == now->bias;
	if (!why)
		return is_generated || !(given->inode || given->piece);
	/* A file that is not known, or not by this size and time: then another one may have its inode's number, and user space has to look. */
	if (given->inode)
		return given->inode == now->inode && !given->piece;
	if (is_generated)
		return false;
	if (!given->seen)
		given->seen = now->seen;
	return given->seen == now->seen;
}

/* Sets unwinding.mapping to the code at an address. 0, or how the stack ends there. */
static __always_inline __u32 code_at(struct unwinding *u, __u64 address)
{
	__u32 process = u->process, index, why;
	struct kiln_mapping *given;
	void *mappings;

	if (address - u->mapping.start < u->mapping.end - u->mapping.start)
		return 0;
	index = u->knows_process ? find_mapping(process, address) : 0;
	mappings = index ? bpf_map_lookup_elem(&code_mappings, &process) : NULL;
	given = mappings ? bpf_map_lookup_elem(mappings, &index) : NULL;
	if (given && address - given->start >= given->end - given->start) /* of newer mappings than `index` is */
		given = NULL;
	if (!given || given->checked != u->changes) {
		why = find_code(u, address);
		if (!given || !is_as_given(given, &u->mapping, why)) {
			u->is_found = 1;
			if (!why && (given || u->mapping.piece))
				note_found_code(u);
			return why;
		}
		if (why != KILN_END_NOT_CODE)
			given->checked = u->changes;
	}
	u->is_found = 0;
	u->mapping = *given;
	return 0;
}

/* The row for an address in unwinding.mapping; KILN_UNWIND_NONE with the reason in `why`. */
static __always_inline __u64 row_at(struct unwinding *u, __u64 address, __u32 *why)
{
	__u64 pc = address - u->mapping.bias;

	if (!u->mapping.table) {
		*why = u->mapping.granules == KILN_GENERATED_CODE ? KILN_END_GENERATED_CODE : KILN_END_NO_TABLE;
		return 0;
	}
	*why = KILN_END_NO_ROW;
	return pc >> KILN_UNWIND_GRANULE_SHIFT < u->mapping.granules ? find_row(u->mapping.table, pc) : 0;
}

/* What is no code can't be followed any further. */
static __always_inline bool is_code(__u32 why)
{
	return why == KILN_END_NO_ROW || why == KILN_END_NO_TABLE || why == KILN_END_GENERATED_CODE;
}

#define FOLLOWED (-1)

static __always_inline void guess(struct unwinding *u, __u32 why, bool marked)
{
	u->guessed = (1 + why) | (marked ? GUESS_MARKED : 0);
}

/* How the stack ends if the guess is none. */
static __always_inline __u32 end_of_guess(const struct unwinding *u)
{
	return (u->guessed & (GUESS_MARKED - 1)) - 1;
}

/* No row. A stub has its return address on top of the stack; other code may keep a frame pointer, or have been called by what the first word
 * tells that looks like a return address. FOLLOWED, or the end. */
static __always_inline int follow_without_row(struct unwinding *u, __u32 why, __u64 *cfa, __s8 *frame_pointer)
{
	bool has_frame;
	int number;

	if (!is_code(why))
		return why;
	/* Nothing called what begins a process: the loader's first instructions, or the program's. */
	if (u->sp + FIRST_FRAME_BYTES - u->stack_start < FIRST_FRAME_REACH)
		return KILN_END_COMPLETE;
	*frame_pointer = KILN_UNWIND_FP_SAME;
	guess(u, why, true);
	if (u->depth == 1 && why == KILN_END_NO_ROW && !read_word(u, u->sp) && follows_call(u, u->word) == FOLLOWS_CALL) {
		*cfa = u->sp + 8;
		return FOLLOWED;
	}
	if (need_frame_pointer(u))
		return KILN_END_UNREADABLE_MEMORY;
	/* 0 marks the outermost frame (System V ABI for x86-64, 3.4.1); in the innermost it may be any number. */
	if (!u->fp && u->followed)
		return KILN_END_COMPLETE;
	has_frame = u->fp >= u->sp && u->fp - u->sp <= FRAME_POINTER_REACH && !(u->fp & 7);
	/* Generated code never has rows: what runs it keeps frame pointers, or can't be followed. */
	if (!has_frame || why != KILN_END_GENERATED_CODE) {
		/* Otherwise the register may hold the address of anything on the stack. */
		has_frame = has_frame && !read_word(u, u->fp + 8) && may_be_return_address(u, u->word);
		number = find_return_address(u, has_frame);
		if (number) {
			*cfa = u->sp + (__u64)number * 8;
			return FOLLOWED;
		}
		if (!has_frame)
			return why;
	} else {
		guess(u, why, false);
	}
	*cfa = u->fp + 16;
	*frame_pointer = -2;
	u->followed = 1;
	return FOLLOWED;
}

/* struct rt_sigframe of the kernel, above the return address that the handler consumed: `gregs` of the ucontext. */
#define UCONTEXT_RBP 120
#define UCONTEXT_RSP 160
#define UCONTEXT_RIP 168

/* From a signal frame to the frame it interrupted, which may lie on another stack. */
static __always_inline long leave_signal_frame(struct unwinding *u)
{
	__u64 context = u->sp;

	if (read_word(u, context + UCONTEXT_RBP))
		return ended(u, KILN_END_UNREADABLE_MEMORY);
	u->fp = u->word;
	if (read_word(u, context + UCONTEXT_RSP))
		return ended(u, KILN_END_UNREADABLE_MEMORY);
	u->sp = u->word;
	if (read_word(u, context + UCONTEXT_RIP))
		return ended(u, KILN_END_UNREADABLE_MEMORY);
	u->pc = u->word;
	u->fp_saved_at = 0;
	u->exact = 1;
	return 0;
}

static __always_inline __u64 remembered_end(__u32 why)
{
	union {
		struct kiln_unwind_row row;
		__u64 word;
	} remembered = { .row = { .pc = why, .rule = UNWIND_NO_ROW } };

	return remembered.word;
}

/* The context of bpf_loop has to lie on the stack; it points to the rest. */
struct unwind_context {
	struct unwinding *u;
	struct kiln_stack *stack;
	const struct pt_regs *regs;
};

/* One frame: record its address and go to its caller. */
static long unwind_frame(__u32 turn, struct unwind_context *context)
{
	struct unwinding *u = context->u;
	__u64 address = u->pc - !u->exact, frame, cfa = 0, sampled = 0;
	struct remembered_row *known = &u->rows[(address * 0x9E3779B97F4A7C15ULL) >> UNWIND_CACHE_SHIFT & (UNWIND_CACHE - 1)];
	union {
		__u64 word;
		struct kiln_unwind_row row;
	} found;
	__u32 why = 0, next = u->next;
	bool is_known = known->address == address && known->generation == u->generation;
	__s8 frame_pointer;
	int end;

	if (u->depth >= KILN_USER_DEPTH)
		return ended(u, KILN_END_TOO_DEEP);
	if (!is_known || known->changes != u->changes) {
		why = code_at(u, address);
		is_known = is_known && !why && !u->is_found;
		if (is_known)
			known->changes = u->changes;
	}
	if (is_known) {
		found.word = known->row;
		why = KILN_END_NO_ROW;
		if (found.row.rule == UNWIND_NO_ROW) {
			why = found.row.pc;
			found.word = 0;
		}
	} else {
		found.word = why ? 0 : row_at(u, address, &why);
		if (!found.word && why != KILN_END_NO_ROW) {
			switch (leave_probe(u)) {
			case PROBE_LEFT:
				return 0;
			case PROBE_UNKNOWN:
				return ended(u, KILN_END_PROBED_RETURN);
			}
		}
		/* A guess that led nowhere was none: its address is not shown. */
		if (u->guessed &&
			(!(found.word || is_code(why)) || (follows_call(u, u->pc) == FOLLOWS_NO_CALL && !is_signal_return(u, u->pc))))
			return ended(u, end_of_guess(u));
		/* Nor is a word that is no address of code. */
		if (why == KILN_END_NOT_CODE && !u->exact)
			return ended(u, why);
		if (found.row.rule == KILN_UNWIND_NONE && !u->exact && is_code(why) && is_signal_return(u, u->pc))
			found.row.rule = KILN_UNWIND_SIGNAL;
		/* Where samples hit user code rarely repeats; where it calls and enters the kernel does. */
		if (!u->is_found && (!u->exact || (found.word && context->stack->kernel_depth)) && (found.word || is_code(why))) {
			known->address = address;
			known->generation = u->generation;
			known->changes = u->changes;
			known->row = found.word ? found.word : remembered_end(why);
		}
	}
	frame = u->exact && u->depth ? u->pc | KILN_FRAME_INTERRUPTED : u->pc;
	if (u->guessed) {
		if (u->guessed & GUESS_MARKED) {
			frame |= KILN_FRAME_GUESSED;
			u->guesses++;
		}
		u->guessed = 0;
	}
	context->stack->frames[next & (KILN_STACK_FRAMES - 1)] = frame;
	u->hash = kiln_mix(u->hash, frame);
	u->next = next + 1;
	u->depth++;

	if (found.row.rule & KILN_UNWIND_DERIVED) {
		found.row.rule &= ~KILN_UNWIND_DERIVED;
		guess(u, KILN_END_NO_ROW, true);
		if (!leads_to_return_address(u, found.word))
			found.row.rule = KILN_UNWIND_NONE;
	}
	frame_pointer = found.row.frame_pointer;
	switch (found.row.rule) {
	case KILN_UNWIND_NONE:
		end = follow_without_row(u, why, &cfa, &frame_pointer);
		if (end != FOLLOWED)
			return ended(u, end);
		break;
	case KILN_UNWIND_SP:
		cfa = u->sp + found.row.offset * 8;
		break;
	case KILN_UNWIND_SP_FAR:
		cfa = u->sp + (KILN_UNWIND_FAR + (__u64)(__u16)found.row.offset) * 8;
		break;
	case KILN_UNWIND_FP:
	case KILN_UNWIND_FP_ELSEWHERE:
		if (need_frame_pointer(u))
			return ended(u, KILN_END_UNREADABLE_MEMORY);
		cfa = u->fp + found.row.offset * 8;
		break;
	case KILN_UNWIND_END:
		return ended(u, KILN_END_COMPLETE);
	case KILN_UNWIND_PLT:
		cfa = u->sp + 8 + ((u->pc & 15) >= (__u64)found.row.offset ? 8 : 0);
		break;
	case KILN_UNWIND_SIGNAL:
		return leave_signal_frame(u);
	case KILN_UNWIND_DEREFERENCE_FP:
		if (need_frame_pointer(u) || read_word(u, u->fp + found.row.offset * 8))
			return ended(u, KILN_END_UNREADABLE_MEMORY);
		cfa = u->word;
		break;
	case KILN_UNWIND_DEREFERENCE_SP:
	case KILN_UNWIND_DEREFERENCE_SP_8:
		if (read_word(u, u->sp + found.row.offset * 8))
			return ended(u, KILN_END_UNREADABLE_MEMORY);
		cfa = u->word + (found.row.rule == KILN_UNWIND_DEREFERENCE_SP_8 ? 8 : 0);
		break;
	case KILN_UNWIND_REGISTER:
	case KILN_UNWIND_RETURN_REGISTER:
		/* Of other registers only the sampled values are known. */
		if (u->depth > 1)
			return ended(u, KILN_END_UNSUPPORTED_ROW);
		sampled = sampled_register(context->regs, found.row.offset & KILN_UNWIND_REGISTER_MASK);
		cfa = (found.row.rule == KILN_UNWIND_REGISTER ? sampled : u->sp) + (found.row.offset >> KILN_UNWIND_REGISTER_SHIFT) * 8;
		break;
	default:
		return ended(u, KILN_END_UNSUPPORTED_ROW);
	}
	if (found.row.rule == KILN_UNWIND_RETURN_REGISTER) {
		u->pc = sampled;
	} else {
		if (read_word(u, cfa - 8))
			return ended(u, KILN_END_UNREADABLE_MEMORY);
		u->pc = u->word;
	}
	if (frame_pointer == KILN_UNWIND_FP_AT_FP) {
		if (need_frame_pointer(u))
			return ended(u, KILN_END_UNREADABLE_MEMORY);
		u->fp_saved_at = u->fp;
	} else if (frame_pointer == KILN_UNWIND_FP_UNDEFINED) {
		u->fp = u->fp_saved_at = 0;
	} else if (frame_pointer != KILN_UNWIND_FP_SAME) {
		u->fp_saved_at = cfa + frame_pointer * 8;
	}
	/* Threads of C libraries without call frame information in their start code begin so. */
	if (!u->pc)
		return ended(u, u->guessed ? end_of_guess(u) : KILN_END_COMPLETE);
	if (cfa <= u->sp && !u->exact && found.row.rule != KILN_UNWIND_FP_ELSEWHERE)
		return ended(u, KILN_END_STUCK);
	u->sp = cfa;
	u->exact = 0;
	return 0;
}

#define CODE_SEGMENT_32_BIT 0x23 /* __USER32_CS */

/* Puts a task's user frames behind the kernel's and says how they end; stack->key.hash goes on over them.
 * The saved registers are the user's whether the task is in user or kernel mode. `u`: the scratch of the calling program's context. Of another task
 * than the current one, copy_stack() comes first. */
static __always_inline void unwind_user_stack(struct kiln_stack *stack, struct unwinding *u, struct task_struct *task)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	__u32 zero = 0, process = stack->key.process;
	struct unwind_context context = { .u = u, .stack = stack, .regs = regs };
	const struct kiln_mappings_header *header = NULL;
	void *mappings = bpf_map_lookup_elem(&code_mappings, &process);
	struct mm_struct *mm;

	if (!mappings) {
		process = stack->origin;
		mappings = bpf_map_lookup_elem(&code_mappings, &process);
	}
	stack->user_depth = 0;
	stack->found_count = stack->guessed = 0;
	stack->reading = 0;
	stack->end = KILN_END_COMPLETE;
	if (!u)
		return;
	u->task = (__u64)task;
	if (!regs->ip) /* a worker of the kernel in the process (io_uring): it has no user side */
		return;
	mm = task->mm;
	if (!mm || !mm->start_code) {
		stack->end = mm ? KILN_END_IN_EXEC : KILN_END_EXITING;
		stack->key.hash = kiln_mix(stack->key.hash, stack->end);
		return;
	}
	u->pc = regs->ip;
	u->sp = regs->sp;
	u->fp = regs->bp;
	u->fp_saved_at = 0;
	u->stack_start = mm->start_stack;
	u->hash = stack->key.hash;
	u->process = process;
	u->depth = 0;
	u->next = stack->kernel_depth;
	u->end = KILN_END_TOO_DEEP;
	u->exact = 1;
	u->followed = u->guessed = u->guesses = u->scanned = u->found_count = u->is_found = 0;
	u->mapping.start = u->mapping.end = 0;
	u->window_at = -1ULL << 40;
	if (mappings)
		header = bpf_map_lookup_elem(mappings, &zero);
	/* Nothing is remembered of a process whose mappings are not known. */
	u->knows_process = 0;
	u->generation = -1ULL;
	if (header && header->count) {
		u->knows_process = 1;
		u->generation = header->generation;
		stack->reading = header->reading;
		u->hash = kiln_mix(u->hash, header->layer);
	}
	u->changes = mappings_now(task, mm);
	if ((regs->cs & 0xffff) == CODE_SEGMENT_32_BIT) {
		stack->frames[stack->kernel_depth & (KILN_STACK_FRAMES - 1)] = u->pc;
		u->hash = kiln_mix(u->hash, u->pc);
		u->depth = 1;
		u->end = KILN_END_COMPAT_32_BIT;
	} else {
		if (stack->kernel_depth)
			put_right(u, task, regs);
		bpf_loop(KILN_USER_DEPTH + PROBED_RETURNS + 1, unwind_frame, &context, 0);
	}
	stack->user_depth = u->depth;
	stack->found_count = u->found_count;
	stack->guessed = u->guesses;
	stack->end = u->end;
	if (u->end == KILN_END_NO_MAPPING) /* each reading may find other code there */
		u->hash = kiln_mix(u->hash, stack->reading);
	stack->key.hash = kiln_mix(u->hash, (__u64)u->depth << 32 | u->end);
}

#endif
