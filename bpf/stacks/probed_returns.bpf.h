/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where probes of functions (uprobes), whoever placed them, hide what a stack says. Part of unwind.bpf.h.
 *
 * A return probe replaces the return address of each call by that of a trampoline, in a page that the kernel maps into the
 * process ([uprobes] in its maps). The task keeps a list of what was replaced, the latest call first. The same page holds copies of
 * probed instructions that run in single step. */
#ifndef KILN_PROBED_RETURNS_BPF_H
#define KILN_PROBED_RETURNS_BPF_H

#include "common/bpf.h"
#include "stacks/code_bytes.bpf.h"
#include "stacks/unwinding.bpf.h"
#include "stacks/user_memory.bpf.h"

#define PROBES_PAGE_BYTES 4096
#define PROBED_RETURNS 64            /* MAX_URETPROBE_DEPTH: of a task at a time */
#define PROBED_INSTRUCTION_BYTES 128 /* UPROBE_XOL_SLOT_BYTES: room for one instruction */
#define BREAKPOINT 0xcc              /* int3 */
#define NO_SYSTEM_CALL (-1UL)        /* orig_ax of traps and most interrupts */

/* The trampoline of Linux 6.11 and later: three pushes, a system call, two pops, and a return to what then lies on top. Earlier ones are a
 * breakpoint. */
#define TRAMPOLINE_PUSHED 24
#define TRAMPOLINE_CALLED 13 /* behind the system call */
#define TRAMPOLINE_POPPED_ONE 15
#define TRAMPOLINE_POPPED_BOTH 16

/* Where the page of probes lies in the process; 0: it has none. */
static __always_inline __u64 probes_page(struct task_struct *task)
{
	struct mm_struct *mm = NULL;
	struct xol_area *area = NULL;
	unsigned long address = 0;

	if (!bpf_core_field_exists(mm->uprobes_state) || !bpf_core_field_exists(area->vaddr))
		return 0;
	bpf_core_read(&mm, sizeof mm, &task->mm);
	bpf_core_read(&area, sizeof area, &mm->uprobes_state.xol_area);
	if (area)
		bpf_core_read(&address, sizeof address, &area->vaddr);
	return address;
}

/* Return to where the call would, whose return address stood at `slot` or in the `more` bytes above it. False: none is known there. */
static __always_inline bool return_from_probed(struct unwinding *u, struct uprobe_task *probes, __u64 slot, __u64 more)
{
	struct return_instance *call = NULL;
	unsigned long stack = 0, address = 0;
	int i;

	bpf_core_read(&call, sizeof call, &probes->return_instances);
	for (i = 0; i < PROBED_RETURNS && call; i++) {
		bpf_core_read(&stack, sizeof stack, &call->stack);
		if (stack - slot <= more) {
			bpf_core_read(&address, sizeof address, &call->orig_ret_vaddr);
			u->pc = address;
			u->sp = stack + 8;
			return true;
		}
		bpf_core_read(&call, sizeof call, &call->next);
	}
	return false;
}

/* Code that runs in the page itself: a probed instruction, or the trampoline. */
static __always_inline bool leave_probes_page(struct unwinding *u, struct uprobe_task *probes, __u64 offset)
{
	unsigned long copy = 0, original = 0;
	__u64 address;

	bpf_core_read(&copy, sizeof copy, &probes->xol_vaddr);
	if (copy && u->pc - copy < PROBED_INSTRUCTION_BYTES) {
		bpf_core_read(&original, sizeof original, &probes->vaddr);
		u->pc = original + (u->pc - copy);
		return true;
	}
	/* The return took the replaced address off the stack; what the trampoline has pushed since lies below. */
	if (return_from_probed(u, probes, u->sp - 8, TRAMPOLINE_PUSHED))
		return true;
	/* The system call has put the address where the trampoline's own return takes it from, or does so in a moment. */
	address = u->sp + (offset < TRAMPOLINE_POPPED_ONE ? 16 : offset < TRAMPOLINE_POPPED_BOTH ? 8 : 0);
	if (offset < TRAMPOLINE_CALLED || offset > TRAMPOLINE_POPPED_BOTH || read_user(u, &u->word, sizeof u->word, address) ||
		follows_call(u, u->word) != FOLLOWS_CALL)
		return false;
	u->pc = u->word;
	u->sp = address + 8;
	return true;
}

/* From the page of probes to the code that it stands for. 0: the address lies elsewhere; otherwise PROBE_LEFT or PROBE_UNKNOWN. A
 * global function: verified once. */
enum { NO_PROBE, PROBE_LEFT, PROBE_UNKNOWN };

__noinline int leave_probe(struct unwinding *u)
{
	struct task_struct *task = u ? task_of(u) : NULL;
	struct uprobe_task *probes = NULL;
	__u64 page, offset;
	bool left;

	if (!u || !bpf_core_field_exists(task->utask))
		return NO_PROBE;
	bpf_core_read(&probes, sizeof probes, &task->utask);
	if (!probes)
		return NO_PROBE;
	page = probes_page(task);
	offset = u->pc - page;
	if (!page || offset >= PROBES_PAGE_BYTES)
		return NO_PROBE;
	left = u->exact ? leave_probes_page(u, probes, offset) : return_from_probed(u, probes, u->sp - 8, 0);
	return left ? PROBE_LEFT : PROBE_UNKNOWN;
}

/* What the kernel leaves half done while it handles a probe, and a sample of the kernel's side may find: an address that is still behind the
 * breakpoint, and the trampoline's three registers still on the stack when the address is the caller's already. Only of a task that has met a
 * probe: an interrupt looks the same as a trap, and other code ends in the breakpoint's byte, too. */
static __always_inline void put_right(struct unwinding *u, struct task_struct *task, const struct pt_regs *regs)
{
	struct uprobe_task *probes = NULL;
	__u64 pushed[TRAMPOLINE_PUSHED / 8] = {};
	__u8 code[2] = {};

	if (regs->orig_ax != NO_SYSTEM_CALL || !bpf_core_field_exists(task->utask))
		return;
	bpf_core_read(&probes, sizeof probes, &task->utask);
	if (!probes)
		return;
	if (!read_user(u, code, sizeof code, u->pc - 1) && code[0] == BREAKPOINT &&
		code[1] != BREAKPOINT) /* put right already, and padding before it */
		u->pc--;
	else if (!read_user(u, pushed, sizeof pushed, u->sp) && pushed[0] == regs->r11 && pushed[1] == regs->cx && pushed[2] == regs->ax)
		u->sp += TRAMPOLINE_PUSHED;
}

#endif
