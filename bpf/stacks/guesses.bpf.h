/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Callers of code without call frame information. Part of unwind.bpf.h. Global functions: verified once.
 *
 * Most such code has rows that user space derived from its instructions (KILN_UNWIND_DERIVED). A row that leads to no return address is wrong. Then, and
 * where there is no row, the stack is searched for a word behind a call: the first one whose call leads to where the code is, or else the first one whose
 * call leads to an unknown place (by a pointer). Other words are left from earlier calls. */
#ifndef KILN_GUESSES_BPF_H
#define KILN_GUESSES_BPF_H

#include "common/bpf.h"
#include "include/kiln_unwind.h"
#include "stacks/code_bytes.bpf.h"
#include "stacks/probed_returns.bpf.h"
#include "stacks/stack_words.bpf.h"
#include "stacks/unwind_tables.bpf.h"
#include "stacks/unwinding.bpf.h"
#include "stacks/user_memory.bpf.h"

/* A word that a return may take. The code of a sleeper can't be read. */
static __always_inline bool may_be_return_address(struct unwinding *u, __u64 address)
{
	__u64 page;

	switch (follows_call(u, address)) {
	case FOLLOWS_CALL:
		return true;
	case CODE_UNREADABLE:
		if (u->copied_bytes)
			return true;
		break;
	default:
		if (is_signal_return(u, address))
			return true;
	}
	page = probes_page(task_of(u));
	return page && address - page < PROBES_PAGE_BYTES;
}

/* `word`: the row, its rule without the mark. Whether it leads to a return address. */
__noinline int leads_to_return_address(struct unwinding *u, __u64 word)
{
	union {
		__u64 word;
		struct kiln_unwind_row row;
	} derived = { .word = word };
	__u64 cfa;

	if (!u)
		return 0;
	if (derived.row.rule == KILN_UNWIND_FP) {
		if (need_frame_pointer(u))
			return 0;
		cfa = u->fp + derived.row.offset * 8;
	} else {
		cfa = u->sp + derived.row.offset * 8;
	}
	return cfa > u->sp && !read_word(u, cfa - 8) && may_be_return_address(u, u->word);
}

#define ENDBR64 0xfa1e0ff3U
#define BND 0xf2 /* prefix of jumps */

/* Where a slot of the procedure linkage table or a jump at a function's beginning leads; other code: the address itself. */
static __always_inline __u64 through_jump(struct unwinding *u, __u64 address)
{
	__u64 code = 0, at = address, target = 0;

	if (read_user(u, &code, sizeof code, at))
		return address;
	if ((__u32)code == ENDBR64) {
		at += 4;
		if (read_user(u, &code, sizeof code, at))
			return address;
	}
	if ((__u8)code == BND) {
		at++;
		if (read_user(u, &code, sizeof code, at))
			return address;
	}
	if ((__u8)code == 0xe9)
		return at + 5 + (__s32)(code >> 8);
	/* jmp through the word at a distance */
	if ((__u16)code != 0x25ff || read_user(u, &target, sizeof target, at + 6 + (__s32)(code >> 16)))
		return address;
	return target;
}

enum { CALLS_NOTHING, CALLS_ELSEWHERE, CALLS_UNKNOWN, CALLS_HERE };

/* Whether the call that ends at an address leads to the code at `pc`. */
__noinline int called_from(struct unwinding *u, __u64 address, __u64 pc)
{
	__u64 code = 0, target;

	if (!u || read_user(u, &code, sizeof code, address - sizeof code) || !ends_in_call(code))
		return CALLS_NOTHING;
	target = address + (__s32)(code >> 32);
	if ((__u8)(code >> 24) == 0xe8) {
		if (pc - target < CALLED_REACH)
			return CALLS_HERE;
		target = through_jump(u, target);
	} else if ((__u16)(code >> 16) != 0x15ff || read_user(u, &target, sizeof target, target)) {
		return CALLS_UNKNOWN;
	}
	return pc - target < CALLED_REACH ? CALLS_HERE : CALLS_ELSEWHERE;
}

/* The context of bpf_loop has to lie on the stack. */
struct search_context {
	struct unwinding *u;
};

/* One word of the stack. Ends the search behind a call of the code at search_pc. */
static long look_at_word(__u32 index, struct search_context *context)
{
	struct unwinding *u = context->u;
	__u64 word;
	int called;

	if (index >= u->search_limit || read_word(u, u->sp + (__u64)index * 8))
		return 1;
	u->scanned++;
	word = u->word;
	/* Small numbers, and addresses of the stack itself. */
	if (word < 4096 || word >> 56 || word - u->sp < FRAME_POINTER_REACH)
		return 0;
	called = called_from(u, word, u->search_pc);
	/* Where there is a frame, what lies there is a better guess than a call through a pointer. */
	if (called < CALLS_UNKNOWN || (called == CALLS_UNKNOWN && (u->search_has_frame || u->search_found)) ||
		(u->knows_process && !find_mapping(u->process, word - 1)))
		return 0;
	u->search_found = index + 1;
	return called == CALLS_HERE;
}

/* The number of the word of the stack, from 1, that is the return address of the code at pc; 0: none is. Up to the frame pointer, if there is a frame. */
__noinline int find_return_address(struct unwinding *u, int has_frame)
{
	struct search_context context = { .u = u };
	__u64 reach;

	if (!u || u->scanned >= SCANNED_IN_ALL)
		return 0;
	u->search_pc = u->pc - !u->exact;
	u->search_has_frame = has_frame;
	u->search_found = 0;
	reach = u->fp + 8 - u->sp;
	u->search_limit = has_frame && reach < SCANNED_WORDS * 8 ? reach >> 3 : SCANNED_WORDS;
	bpf_loop(SCANNED_WORDS, look_at_word, &context, 0);
	return u->search_found;
}

#endif
