/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The words of the stack that is unwound. Part of unwind.bpf.h. */
#ifndef KILN_STACK_WORDS_BPF_H
#define KILN_STACK_WORDS_BPF_H

#include "common/bpf.h"
#include "stacks/unwinding.bpf.h"
#include "stacks/user_memory.bpf.h"

/* Global, like the searches: verified once, by itself.
 *
 * Reads the word at a user address into unwinding.word, and a window that begins with it: some 75 ns of a
 * bpf_probe_read_user don't depend on its size, and frames only go up. */
__noinline int read_window(struct unwinding *u, __u64 address)
{
	if (!u)
		return -1;
	if (address & 7 || read_user(u, u->window, UNWIND_WINDOW, address)) {
		u->window_at = -1ULL << 40; /* it would have passed the end of the stack */
		return read_user(u, &u->word, sizeof u->word, address) ? -1 : 0;
	}
	u->window_at = address;
	u->word = u->window[0];
	return 0;
}

static __always_inline int read_word(struct unwinding *u, __u64 address)
{
	__u64 offset = address - u->window_at;
	__u32 index = offset >> 3;

	if (offset >= UNWIND_WINDOW || offset & 7)
		return read_window(u, address);
	barrier_var(index); /* or clang masks the byte offset instead, which the verifier can't bound */
	u->word = u->window[index & (UNWIND_WINDOW / 8 - 1)];
	return 0;
}

/* The frame pointer's value in the current frame, read only where a rule asks for it: most don't. */
static __always_inline int need_frame_pointer(struct unwinding *u)
{
	if (u->fp_saved_at) {
		if (read_word(u, u->fp_saved_at))
			return -1;
		u->fp = u->word;
		u->fp_saved_at = 0;
	}
	return 0;
}

#endif
