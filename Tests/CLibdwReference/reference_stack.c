#include "CLibdwReference.h"
#include <elfutils/libdwfl.h>
#include <stdlib.h>

struct reference_process {
	Dwfl *dwfl;
	pid_t pid;
	// The stack that is being unwound.
	const uint64_t *registers;
	reference_read read;
	void *context;
	struct reference_stack *stack;
	struct reference_caller *caller;
	unsigned visited;
};

// Call frame information is all that is asked for: nothing is searched, least of all in the network.
static int find_no_debuginfo(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file, const char *link,
	GElf_Word checksum, char **result)
{
	return -1;
}

static const Dwfl_Callbacks of_process = { .find_elf = dwfl_linux_proc_find_elf, .find_debuginfo = find_no_debuginfo };
static const Dwfl_Callbacks of_file = { .find_elf = dwfl_build_id_find_elf, .find_debuginfo = find_no_debuginfo };

static pid_t next_thread(Dwfl *dwfl, void *argument, void **thread)
{
	struct reference_process *process = argument;

	if (*thread)
		return 0;
	*thread = process;
	return process->pid;
}

static bool get_thread(Dwfl *dwfl, pid_t id, void *argument, void **thread)
{
	*thread = argument;
	return true;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *word, void *argument)
{
	struct reference_process *process = argument;

	return process->read(process->context, address, word, sizeof *word);
}

static bool set_registers(Dwfl_Thread *thread, void *argument)
{
	struct reference_process *process = argument;

	return dwfl_thread_state_registers(thread, 0, REFERENCE_REGISTERS, process->registers);
}

static const Dwfl_Thread_Callbacks threads = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_memory,
	.set_initial_registers = set_registers,
};

static struct reference_process *attached(struct reference_process *opened, bool is_reported)
{
	if (is_reported && !dwfl_report_end(opened->dwfl, NULL, NULL) &&
		dwfl_attach_state(opened->dwfl, NULL, opened->pid, &threads, opened))
		return opened;
	reference_process_close(opened);
	return NULL;
}

struct reference_process *reference_process_open(int pid)
{
	struct reference_process *opened = calloc(1, sizeof *opened);

	if (!opened)
		return NULL;
	opened->pid = pid;
	opened->dwfl = dwfl_begin(&of_process);
	return attached(opened, opened->dwfl && !dwfl_linux_proc_report(opened->dwfl, pid));
}

struct reference_process *reference_process_open_file(const char *path)
{
	struct reference_process *opened = calloc(1, sizeof *opened);

	if (!opened)
		return NULL;
	opened->pid = 1;
	opened->dwfl = dwfl_begin(&of_file);
	return attached(opened, opened->dwfl && dwfl_report_elf(opened->dwfl, "file", path, -1, 0, false));
}

void reference_process_close(struct reference_process *opened)
{
	if (opened->dwfl)
		dwfl_end(opened->dwfl);
	free(opened);
}

static bool is_described(Dwfl *dwfl, Dwarf_Addr address)
{
	Dwfl_Module *module = dwfl_addrmodule(dwfl, address);
	Dwarf_Addr bias = 0;
	Dwarf_CFI *cfi = module ? dwfl_module_eh_cfi(module, &bias) : NULL;
	Dwarf_Frame *found;

	if (!cfi || dwarf_cfi_addrframe(cfi, address - bias, &found))
		return false;
	free(found);
	return true;
}

static int take_frame(Dwfl_Frame *frame, void *argument)
{
	struct reference_process *process = argument;
	struct reference_stack *stack = process->stack;
	Dwarf_Addr pc;
	bool is_exact;

	if (!dwfl_frame_pc(frame, &pc, &is_exact))
		return DWARF_CB_ABORT;
	if (!is_described(process->dwfl, pc - !is_exact))
		stack->is_guessed = true;
	if (stack->count == REFERENCE_FRAMES)
		return DWARF_CB_ABORT;
	stack->frames[stack->count++] = pc;
	return DWARF_CB_OK;
}

void reference_unwind_stack(
	struct reference_process *process, const uint64_t *registers, reference_read read, void *context, struct reference_stack *stack)
{
	int result;

	process->registers = registers;
	process->read = read;
	process->context = context;
	process->stack = stack;
	stack->count = 0;
	stack->is_guessed = false;
	result = dwfl_getthread_frames(process->dwfl, process->pid, take_frame, process);
	stack->error = result ? dwfl_errmsg(-1) : NULL;
}

static int take_caller(Dwfl_Frame *frame, void *argument)
{
	struct reference_process *process = argument;
	struct reference_caller *caller = process->caller;
	Dwarf_Addr pc;

	if (!process->visited++)
		return DWARF_CB_OK;
	if (!dwfl_frame_pc(frame, &pc, NULL))
		return DWARF_CB_ABORT;
	caller->pc = pc;
	caller->is_sp_known = !dwfl_frame_reg(frame, 7, &caller->sp);
	caller->is_fp_known = !dwfl_frame_reg(frame, 6, &caller->fp);
	caller->is_found = true;
	return DWARF_CB_ABORT;
}

struct reference_caller reference_unwind_caller(
	struct reference_process *process, const uint64_t *registers, reference_read read, void *context)
{
	struct reference_caller caller = { 0 };

	process->registers = registers;
	process->read = read;
	process->context = context;
	process->caller = &caller;
	process->visited = 0;
	dwfl_getthread_frames(process->dwfl, process->pid, take_caller, process);
	return caller;
}
