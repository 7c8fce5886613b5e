#include "unwind_host.h"

#include "stacks/unwind.bpf.h"

// An inner map.
struct array {
	const unsigned char *values;
	size_t size, count;
};

struct unwind_host {
	struct unwinding state;
	struct task_struct task;
	struct mm_struct mm;
	struct xol_area probes_page;
	struct uprobe_task probes;
	struct return_instance *returns;
	struct pt_regs registers;
	struct kiln_stack stack;
	unwind_read read;
	void *context;
	__u32 turns;
	// The registers are those of a trap.
	bool trapped;
	// CS; 0: of 64-bit code.
	uint16_t code_segment;
	// Map memory: the header in the first cell, then the mappings.
	struct kiln_mapping *cells;
	struct array mappings;
	// By mapping, from 1.
	struct array *tables;
	size_t table_count;
};

static _Thread_local struct unwind_host *current;

static __u32 turns_left(void)
{
	return current->turns;
}

static const struct pt_regs *bpf_task_pt_regs(const void *task)
{
	(void)task;
	return &current->registers;
}

static long bpf_probe_read_user(void *to, __u32 size, const void *from)
{
	return current->read(current->context, (__u64)from, to, size) ? 0 : -14;
}

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	__u32 index;
	const struct array *array = map;

	if (map == &known_code)
		return NULL;
	memcpy(&index, key, sizeof index);
	if (map == &code_mappings)
		return index == 0 ? &current->mappings : NULL;
	if (map == &unwind_tables)
		return index && index <= current->table_count ? &current->tables[index] : NULL;
	return index < array->count ? (void *)(array->values + index * array->size) : NULL;
}

struct unwind_host *unwind_host_create(const struct unwind_host_mapping *mappings, size_t count)
{
	struct unwind_host *host = calloc(1, sizeof *host);

	if (!host)
		return NULL;
	host->cells = calloc(count + 1, sizeof *host->cells);
	host->tables = calloc(count + 1, sizeof *host->tables);
	if (!host->cells || !host->tables) {
		unwind_host_free(host);
		return NULL;
	}
	memcpy(host->cells, &(struct kiln_mappings_header){ .count = count, .generation = 1 }, sizeof *host->cells);
	for (size_t i = 0; i < count; i++) {
		const struct unwind_host_mapping *mapping = &mappings[i];

		host->cells[i + 1] = (struct kiln_mapping){
			.start = mapping->start,
			.end = mapping->end,
			.bias = mapping->bias,
			.table = mapping->cells ? (__u32)(i + 1) : 0,
			.granules = mapping->granules,
		};
		host->tables[i + 1] = (struct array){ (const unsigned char *)mapping->cells, 8, mapping->cell_count };
	}
	host->mappings = (struct array){ (const unsigned char *)host->cells, sizeof *host->cells, count + 1 };
	host->table_count = count;
	host->mm.start_code = 1;
	host->task.mm = &host->mm;
	return host;
}

void unwind_host_free(struct unwind_host *host)
{
	free(host->cells);
	free(host->tables);
	free(host->returns);
	free(host);
}

bool unwind_host_set_probes(struct unwind_host *host, uint64_t page, const struct unwind_host_return *returns, size_t count)
{
	struct return_instance *list = calloc(count + 1, sizeof *list);

	if (!list)
		return false;
	for (size_t i = 0; i < count; i++) {
		list[i].stack = returns[i].slot;
		list[i].orig_ret_vaddr = returns[i].address;
		list[i].next = i + 1 < count ? &list[i + 1] : NULL;
	}
	free(host->returns);
	host->returns = list;
	host->probes_page.vaddr = page;
	host->mm.uprobes_state.xol_area = &host->probes_page;
	host->probes = (struct uprobe_task){ .return_instances = count ? list : NULL };
	host->task.utask = &host->probes;
	return true;
}

void unwind_host_set_probed_instruction(struct unwind_host *host, uint64_t original, uint64_t copy)
{
	host->probes.vaddr = original;
	host->probes.xol_vaddr = copy;
}

void unwind_host_set_stack_start(struct unwind_host *host, uint64_t address)
{
	host->mm.start_stack = address;
}

void unwind_host_set_memory(struct unwind_host *host, bool in_exec, bool exiting)
{
	host->mm.start_code = !in_exec;
	host->task.mm = exiting ? NULL : &host->mm;
}

int unwind_host_follows_call(struct unwind_host *host, uint64_t address, unwind_read read, void *context)
{
	host->read = read;
	host->context = context;
	current = host;
	return follows_call(&host->state, address);
}

void unwind_host_set_trapped(struct unwind_host *host, bool trapped)
{
	host->trapped = trapped;
}

void unwind_host_set_code_segment(struct unwind_host *host, uint16_t segment)
{
	host->code_segment = segment;
}

static void unwind(struct unwind_host *host, const uint64_t *dwarf, unwind_read read, void *context, __u32 turns)
{
	host->registers = (struct pt_regs){
		.ax = dwarf[0],
		.dx = dwarf[1],
		.cx = dwarf[2],
		.bx = dwarf[3],
		.si = dwarf[4],
		.di = dwarf[5],
		.bp = dwarf[6],
		.sp = dwarf[7],
		.r8 = dwarf[8],
		.r9 = dwarf[9],
		.r10 = dwarf[10],
		.r11 = dwarf[11],
		.r12 = dwarf[12],
		.r13 = dwarf[13],
		.r14 = dwarf[14],
		.r15 = dwarf[15],
		.ip = dwarf[16],
		.orig_ax = host->trapped ? NO_SYSTEM_CALL : 0,
		.cs = host->code_segment ? host->code_segment : 0x33,
	};
	host->read = read;
	host->context = context;
	host->turns = turns;
	memset(&host->stack.key, 0, sizeof host->stack.key);
	host->stack.kernel_depth = host->trapped;
	current = host;
	unwind_user_stack(&host->stack, &host->state, &host->task);
}

size_t unwind_host_stack(struct unwind_host *host, const uint64_t *registers, unwind_read read, void *context, uint64_t *frames,
	size_t capacity, unsigned *end)
{
	unwind(host, registers, read, context, ~0u);
	for (size_t i = 0; i < host->stack.user_depth && i < capacity; i++)
		frames[i] = host->stack.frames[host->stack.kernel_depth + i];
	*end = host->stack.end;
	return host->stack.user_depth;
}

struct unwind_step unwind_host_step(struct unwind_host *host, const uint64_t *registers, unwind_read read, void *context)
{
	struct unwind_step step = { .end = -1 };

	unwind(host, registers, read, context, 1);
	// What the state is set to before the first frame, and a single frame can't end in.
	if (host->state.end != KILN_END_TOO_DEEP)
		step.end = (int)host->state.end;
	else if (need_frame_pointer(&host->state))
		step.end = KILN_END_UNREADABLE_MEMORY;
	step.pc = host->state.pc;
	step.sp = host->state.sp;
	step.fp = host->state.fp;
	return step;
}
