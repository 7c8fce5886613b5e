/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's side of a stack at a switch, without walking it where it is known. Part of off_cpu.bpf.h.
 *
 * Threads leave the CPU at few places, again and again, and the kernel's own walk takes longer than all the rest: 2.2 of 4 us. What a walk
 * finds depends on the return addresses that it meets. A function's frame has one size at one call, so the same return addresses at the same
 * distances from where the walk begins are the same stack. Which words of the stack are those is not known: all that look like addresses of
 * code are remembered, and have to be equal. Those that turn out to differ in an equal stack are none, and forgotten.
 *
 * A system call begins at a random distance from the user's registers (randomize_kstack_offset), so distances count from the other end, and
 * the outermost address of a system call, which is always the same, is not compared. */
#ifndef KILN_KNOWN_KERNEL_STACKS_BPF_H
#define KILN_KNOWN_KERNEL_STACKS_BPF_H

#include "stacks/record_stack.bpf.h"

#define KERNEL_CODE_SHIFT 31        /* code lies in the highest 2 GiB, modules' too: Documentation/arch/x86/x86_64/mm.rst */
#define KNOWN_STACKS_SHIFT (64 - 7) /* by CPU */
#define KNOWN_STACKS (1 << 7)
#define KNOWN_WORDS 64           /* of a stack with more words like addresses nothing is remembered */
#define COMPARED_WORDS 256       /* and of a deeper one */
#define OWN_FRAMES 2             /* innermost: the program and what calls it, of which the context is a part */
#define IN_NO_SYSTEM_CALL (-1UL) /* pt_regs.orig_ax of traps and interrupts */

struct known_word {
	__u32 at;  /* index, from where the program's context lies */
	__u32 low; /* half of the address; the other is the same for all code */
};

struct known_kernel_stack {
	__u64 place; /* how the user came into the kernel, hashed */
	__u64 hash;  /* as take_kernel_stack() has it */
	__u32 depth;
	__u32 count;   /* of words; 0: nothing is remembered */
	__u32 counter; /* of the loops below */
	struct known_word words[KNOWN_WORDS];
};

/* Key: the highest bits of the place. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KNOWN_STACKS);
	__type(key, __u32);
	__type(value, struct known_kernel_stack);
} known_kernel_stacks SEC(".maps");

struct kernel_words {
	__u64 from; /* where the program's context lies: in the frame that called it */
	__u64 top;  /* where the user's registers do */
	__u64 words[COMPARED_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kernel_words);
} kernel_words SEC(".maps");

/* Reads the stack; how many words. 0: it can't be compared. */
static __always_inline __u32 read_kernel_words(struct kernel_words *stack, void *context, const struct pt_regs *regs)
{
	__u64 bytes;

	/* Through memory: what is read from there is a number to the verifier. */
	*(volatile __u64 *)&stack->from = (__u64)context;
	*(volatile __u64 *)&stack->top = (__u64)regs;
	bytes = *(volatile __u64 *)&stack->top - *(volatile __u64 *)&stack->from;
	if (bytes > sizeof stack->words || bpf_probe_read_kernel(stack->words, bytes, (void *)*(volatile __u64 *)&stack->from))
		return 0;
	return bytes >> 3;
}

/* 1 or 0. The verifier follows both ways of a branch, in each turn of a loop, and each value of a counter in a register. So the loops have
 * neither. */
static __always_inline __u32 is_zero(__u64 number)
{
	__u64 negative = -number;

	barrier_var(negative);
	return ((number | negative) >> 63) ^ 1;
}

/* How many of the remembered words are still what they were. Global: verified once. */
__noinline __u32 count_equal_words(const struct known_kernel_stack *known, const struct kernel_words *stack, __u32 words)
{
	__u32 i, at;

	if (!known || !stack)
		return 0;
	for (i = 0; i < KNOWN_WORDS; i++) {
		if (i >= known->count)
			break;
		at = known->words[i].at;
		if (at >= words || (__u32)stack->words[at & (COMPARED_WORDS - 1)] != known->words[i].low)
			break;
	}
	return i;
}

/* Of an equal stack: words that differ are no return addresses. */
__noinline __u32 forget_different_words(struct known_kernel_stack *known, const struct kernel_words *stack)
{
	__u32 i;

	if (!known || !stack)
		return 0;
	known->counter = 0;
	for (i = 0; i < KNOWN_WORDS; i++) {
		struct known_word word = known->words[i];

		if (i >= known->count)
			break;
		known->words[known->counter & (KNOWN_WORDS - 1)] = word;
		known->counter += is_zero((__u32)stack->words[word.at & (COMPARED_WORDS - 1)] ^ word.low);
	}
	known->count = known->counter;
	return 0;
}

__noinline __u32 remember_words(struct known_kernel_stack *known, const struct kernel_words *stack, __u32 words)
{
	__u32 i;

	if (!known || !stack)
		return 0;
	known->counter = 0;
	for (i = 0; i < COMPARED_WORDS; i++) {
		if (i >= words)
			break;
		known->words[known->counter & (KNOWN_WORDS - 1)] = (struct known_word){ .at = i, .low = stack->words[i] };
		known->counter += is_zero(~stack->words[i] >> KERNEL_CODE_SHIFT);
	}
	known->count = known->counter <= KNOWN_WORDS ? known->counter : 0;
	return 0;
}

/* Nothing is remembered of a stack whose frames are not among the words, in their order. `last`: the outermost that has to be. */
__noinline __u32 check_words(struct known_kernel_stack *known, const struct kiln_stack *stack, __u32 last)
{
	__u32 i;

	if (!known || !stack)
		return 0;
	known->counter = OWN_FRAMES;
	for (i = 0; i < KNOWN_WORDS; i++) {
		if (i >= known->count)
			break;
		known->counter += is_zero((__u32)stack->frames[known->counter & (KILN_STACK_FRAMES - 1)] ^ known->words[i].low);
	}
	if (known->counter <= last)
		known->count = 0;
	return 0;
}

/* The kernel's frames of the current thread, which leaves the CPU, and the hash over them. Where they are known, they are not written:
 * know_stack() does that if they are asked for. */
static __always_inline void take_kernel_stack_at_switch(void *context, struct kiln_stack *stack, struct task_struct *task, bool runnable)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	__u64 place = kiln_mix(kiln_mix(runnable, regs->orig_ax), regs->ip);
	__u32 zero = 0, index = place >> KNOWN_STACKS_SHIFT, count;
	struct known_kernel_stack *known = bpf_map_lookup_elem(&known_kernel_stacks, &index);
	struct kernel_words *words = bpf_map_lookup_elem(&kernel_words, &zero);

	count = words && known ? read_kernel_words(words, context, regs) : 0;
	if (count && known->place == place && known->count && count_equal_words(known, words, count) == known->count) {
		stack->key.hash = known->hash;
		stack->kernel_depth = known->depth;
		return;
	}
	take_kernel_stack(stack, bpf_get_stack(context, stack->frames, KERNEL_STACK_BYTES, 0));
	if (!count)
		return;
	if (known->place == place && known->hash == stack->key.hash && known->count) {
		forget_different_words(known, words);
	} else {
		known->place = place;
		known->hash = stack->key.hash;
		known->depth = stack->kernel_depth;
		remember_words(known, words, count);
	}
	check_words(known, stack, stack->kernel_depth - (regs->orig_ax == IN_NO_SYSTEM_CALL ? 1 : 2));
}

#endif
