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
#include "stacks/mapped_code.bpf.h"
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

/* Where a slot of the procedure linkage table or a jump at a function's beginning leads; other code: the address itself. */
static __always_inline __u64 through_jump(struct unwinding *u, __u64 address)
{
	__u8 code[16] = {};
	__u64 target = 0;
	__s32 distance;
	__u32 at = 0;

	if (read_user(u, code, sizeof code, address))
		return address;
	if (code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa) /* endbr64 */
		at = 4;
	if (code[at] == 0xf2) /* bnd */
		at++;
	if (code[at] == 0xe9) {
		distance = code[at + 1] | code[at + 2] << 8 | code[at + 3] << 16 | (__u32)code[at + 4] << 24;
		return address + at + 5 + distance;
	}
	if (code[at] != 0xff || code[at + 1] != 0x25)
		return address;
	distance = code[at + 2] | code[at + 3] << 8 | code[at + 4] << 16 | (__u32)code[at + 5] << 24;
	return read_user(u, &target, sizeof target, address + at + 6 + distance) ? address : target;
}

enum { CALLS_NOTHING, CALLS_ELSEWHERE, CALLS_UNKNOWN, CALLS_HERE };

/* Whether the call that ends at an address leads to the code at `pc`. */
__noinline int called_from(struct unwinding *u, __u64 address, __u64 pc)
{
	__u64 code = 0, target;

	if (!u || follows_call(u, address) != FOLLOWS_CALL || read_user(u, &code, sizeof code, address - sizeof code))
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

static __always_inline bool is_mapped_code(struct unwinding *u, __u64 address)
{
	if (u->knows_process && find_mapping(u->process, address))
		return true;
	if (find_code(u, address))
		return false;
	u->is_found = 1;
	return true;
}

/* The index of the word of the stack that is the return address of the code at pc; -1: none is. Up to the frame pointer, where there is a frame: what
 * lies there is a better guess than a call through a pointer. */
__noinline int find_return_address(struct unwinding *u, int has_frame)
{
	__u64 pc, limit = SCANNED_WORDS, word;
	int first = -1, called;
	__u32 i;

	if (!u || u->scanned >= SCANNED_IN_ALL)
		return -1;
	pc = u->pc - !u->exact;
	if (has_frame && u->fp + 8 - u->sp < SCANNED_WORDS * 8)
		limit = (u->fp + 8 - u->sp) >> 3;
	for (i = 0; i < SCANNED_WORDS; i++) {
		if (i >= limit || read_word(u, u->sp + i * 8))
			break;
		word = u->word;
		/* Small numbers, and addresses of the stack itself. */
		if (word < 4096 || word >> 56 || word - u->sp < FRAME_POINTER_REACH)
			continue;
		called = called_from(u, word, pc);
		if (called < CALLS_UNKNOWN || (called == CALLS_UNKNOWN && (has_frame || first >= 0)) || !is_mapped_code(u, word - 1))
			continue;
		if (called == CALLS_HERE) {
			first = i;
			break;
		}
		first = i;
	}
	u->scanned += i;
	return first;
}

#endif
