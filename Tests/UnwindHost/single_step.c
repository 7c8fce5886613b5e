#define _GNU_SOURCE
#include "single_step.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static bool take_registers(struct stepped *program)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, program->pid, 0, &r))
		return false;
	program->registers[0] = r.rax;
	program->registers[1] = r.rdx;
	program->registers[2] = r.rcx;
	program->registers[3] = r.rbx;
	program->registers[4] = r.rsi;
	program->registers[5] = r.rdi;
	program->registers[6] = r.rbp;
	program->registers[7] = r.rsp;
	program->registers[8] = r.r8;
	program->registers[9] = r.r9;
	program->registers[10] = r.r10;
	program->registers[11] = r.r11;
	program->registers[12] = r.r12;
	program->registers[13] = r.r13;
	program->registers[14] = r.r14;
	program->registers[15] = r.r15;
	program->registers[16] = r.rip;
	return true;
}

// Go on, and wait for the next stop. `is_trap`: it was no signal of the program's own.
static bool resume(struct stepped *program, int how, bool *is_trap)
{
	int status;

	if (ptrace(how, program->pid, 0, program->signal) || waitpid(program->pid, &status, __WALL) < 0 || !WIFSTOPPED(status))
		return false;
	*is_trap = WSTOPSIG(status) == SIGTRAP;
	program->signal = *is_trap ? 0 : WSTOPSIG(status);
	return true;
}

static bool is_at_breakpoint(struct stepped *program)
{
	siginfo_t info;

	// int3 says SI_KERNEL; a step says TRAP_TRACE.
	return !ptrace(PTRACE_GETSIGINFO, program->pid, 0, &info) && info.si_code == SI_KERNEL;
}

bool stepped_start(struct stepped *program, const char *path)
{
	char memory[64];
	bool is_trap;
	int status;

	*program = (struct stepped){ .pid = fork(), .memory = -1 };
	if (program->pid < 0)
		return false;
	if (program->pid == 0) {
		int nowhere = open("/dev/null", O_RDWR);
		sigset_t none;

		// Threads of tests block signals.
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(nowhere, 0);
		dup2(nowhere, 1);
		dup2(nowhere, 2);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(path, path, (char *)NULL);
		_exit(127);
	}
	if (waitpid(program->pid, &status, __WALL) < 0 || !WIFSTOPPED(status))
		return false;
	ptrace(PTRACE_SETOPTIONS, program->pid, 0, PTRACE_O_EXITKILL);
	snprintf(memory, sizeof memory, "/proc/%d/mem", program->pid);
	program->memory = open(memory, O_RDONLY | O_CLOEXEC);
	return program->memory >= 0 && resume(program, PTRACE_CONT, &is_trap) && is_trap && take_registers(program);
}

bool stepped_step(struct stepped *program)
{
	bool is_trap;

	if (!resume(program, PTRACE_SINGLESTEP, &is_trap) || (is_trap && is_at_breakpoint(program)))
		return false;
	return take_registers(program);
}

bool stepped_read(void *program, uint64_t address, void *to, size_t size)
{
	return pread(((struct stepped *)program)->memory, to, size, (off_t)address) == (ssize_t)size;
}

void stepped_end(struct stepped *program)
{
	if (program->pid > 0) {
		kill(program->pid, SIGKILL);
		waitpid(program->pid, NULL, __WALL);
	}
	if (program->memory >= 0)
		close(program->memory);
}
