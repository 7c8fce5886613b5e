/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls of the targets: counted by process and number at their return; and the turns of their event loops.
 *
 * Limits: exit and exit_group never return and are not counted; rt_sigreturn has no number left when it returns.
 * Attaching puts every system call of every process on the kernel's slow path: that is what --no-syscalls saves. */
#include "common/bpf.h"
#include "common/system_calls.bpf.h"
#include "include/kiln_syscalls.h"
#include "common/targets.bpf.h"
#include "requests/turns.bpf.h"
#define LOSS_COUNT KILN_SYSCALL_LOSS_COUNT
#include "common/losses.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Key: process * KILN_SYSCALL_NUMBERS + number; one value for each CPU. Written here, read and subtracted by user
 * space, never cleared. User space shrinks it to the number of processes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_MAX_TARGETS *KILN_SYSCALL_NUMBERS);
	__type(key, __u32);
	__type(value, struct kiln_syscall_stats);
} syscall_stats SEC(".maps");

SEC("tp_btf/sys_exit")
int BPF_PROG(count_syscall, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int process = target_index(task->tgid);
	long number = regs->orig_ax;
	struct kiln_syscall_stats *stats;
	__u32 cell;

	if (process < 0 || number < 0)
		return 0;
	/* Each also returns in the child, with 0. */
	if (!ret && (number == NR_clone || number == NR_fork || number == NR_vfork || number == NR_clone3))
		return 0;
	if (task->thread_info.status & TS_COMPAT) {
		lose(KILN_LOST_COMPAT_SYSCALLS, 1);
		return 0;
	}
	if (number >= KILN_SYSCALL_NUMBERS) {
		lose(KILN_LOST_SYSCALL_NUMBERS_OUT_OF_RANGE, 1);
		return 0;
	}
	note_turn(task, process, regs);
	cell = process * KILN_SYSCALL_NUMBERS + number;
	stats = bpf_map_lookup_elem(&syscall_stats, &cell);
	if (!stats)
		return 0;
	stats->count++;
	if (is_errno(ret))
		stats->errors++;
	return 0;
}
