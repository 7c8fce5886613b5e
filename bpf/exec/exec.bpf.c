/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Executed programs, one by one: what was executed, by whom, and how the program ended; and executions that failed.
 *
 * A success is seen where the new program is about to begin, with its arguments in its new memory. Programs that are asked for by the kernel
 * itself are among them. So nothing stands in the way of other system calls, unless failures are asked for: those are seen at the return of each
 * system call.
 *
 * Limits: a failed execution of x32 programs is not seen; of one that was interrupted, the kernel makes the same call again. */
#include "common/bpf.h"
#include "common/system_calls.bpf.h"
#include "exec/losses.bpf.h"
#include "common/members.bpf.h"
#include "exec/records.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 4
#define FIRST_INTERNAL_ERROR 512 /* ERESTARTSYS: no caller sees it */

/* ---- programs that end -------------------------------------------------------------------------------------------- */

/* Key: tgid; value: the number of the program that the process runs, of those that were executed in the session. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KILN_EXEC_PROGRAMS);
	__type(key, __u32);
	__type(value, __u64);
} running_programs SEC(".maps");

/* Once for each program: of several threads that exit together, the one that removes it. */
static __always_inline void end_program(__u32 tgid, __u32 how, __u32 status)
{
	__u64 *program = bpf_map_lookup_elem(&running_programs, &tgid);
	struct kiln_exec_end end = { .kind = KILN_EXEC_ENDED, .how = how, .status = status };

	if (!program)
		return;
	end.program = *program;
	if (bpf_map_delete_elem(&running_programs, &tgid))
		return;
	end.at_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(&exec_ring, &end, sizeof end, BPF_RB_NO_WAKEUP))
		lose(KILN_LOST_EXEC_END_RING_FULL, 1);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(thread_exited, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	if (BPF_CORE_READ(signal, live.counter)) /* others go on */
		return 0;
	/* As wait(2) has it: where no one ended the whole process, the first thread's own status. */
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		end_program(task->tgid, KILN_EXEC_END_EXITED, BPF_CORE_READ(signal, group_exit_code));
	else
		end_program(task->tgid, KILN_EXEC_END_EXITED, BPF_CORE_READ(task, group_leader, exit_code));
	return 0;
}

/* ---- programs that begin ------------------------------------------------------------------------------------------ */

/* A thread as it was before its name changed, which an execution does before the program begins. */
struct before {
	char comm[KILN_COMM_BYTES];
	__u32 was_member;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct before);
} before_execution SEC(".maps");

SEC("tp_btf/task_rename")
int BPF_PROG(name_changes, struct task_struct *task)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct membership member;
	struct before *before;

	if (task->pid != current->pid)
		return 0;
	before = bpf_task_storage_get(&before_execution, current, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!before)
		return 0;
	bpf_core_read(before->comm, sizeof before->comm, &current->comm);
	before->was_member = find_membership(&member, current);
	return 0;
}

__u64 programs_begun;

SEC("tp_btf/sched_process_exec")
int BPF_PROG(program_begins, struct task_struct *task, int caller, struct linux_binprm *bprm)
{
	struct before *before = bpf_task_storage_get(&before_execution, task, NULL, 0);
	struct kiln_exec_record *r;
	struct membership member;

	end_program(task->tgid, KILN_EXEC_END_REPLACED, 0);
	if (!(before && before->was_member) && !find_membership(&member, task))
		return 0;
	r = new_record(task, KILN_EXEC_BEGAN);
	if (!r)
		return 0;
	r->tid = caller;
	r->program = __sync_fetch_and_add(&programs_begun, 1) + 1;
	r->arguments = bprm->argc;
	if (before)
		__builtin_memcpy(r->comm_before, before->comm, sizeof r->comm_before);
	else
		r->flags |= KILN_EXEC_BEFORE_LOST;
	capture_new_arguments(r, task->mm);
	capture_file(r, bprm->filename, false);
	if (bprm->interp != bprm->filename)
		capture_interpreter(r, bprm->interp);
	/* No end comes without its beginning. */
	if (send_record(r) && exec_options.ends && bpf_map_update_elem(&running_programs, &r->tgid, &r->program, BPF_ANY))
		lose(KILN_LOST_EXEC_PROGRAMS_MAP_FULL, 1);
	return 0;
}

/* ---- executions that fail ----------------------------------------------------------------------------------------- */

/* Their arguments are still in the registers and in the memory of the thread that made the call. */
SEC("tp_btf/sys_exit")
int BPF_PROG(call_returned, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 number = regs->orig_ax;
	struct kiln_exec_record *r;
	struct membership member;
	bool compat, at;

	if (result >= 0 || result <= -FIRST_INTERNAL_ERROR)
		return 0;
	compat = task->thread_info.status & TS_COMPAT;
	at = number == (compat ? NR_execveat_32_BIT : NR_execveat);
	if (!at && number != (compat ? NR_execve_32_BIT : NR_execve))
		return 0;
	if (!find_membership(&member, task))
		return 0;
	r = new_record(task, KILN_EXEC_FAILED);
	if (!r)
		return 0;
	r->result = result;
	__builtin_memcpy(r->comm_before, r->comm, sizeof r->comm_before);
	if (compat) {
		capture_given_arguments(r, (__u32)(at ? regs->dx : regs->cx), 4);
		capture_file(r, (const void *)(__u64)(__u32)(at ? regs->cx : regs->bx), true);
	} else {
		capture_given_arguments(r, at ? regs->dx : regs->si, 8);
		capture_file(r, (const void *)(at ? regs->si : regs->di), true);
	}
	send_record(r);
	return 0;
}
