// bpf/stacks/unwind.bpf.h compiled for user space: the unwinder's own source, on memory that the caller reads.
#ifndef UNWIND_HOST_H
#define UNWIND_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Registers by their DWARF number for x86-64: 6 rbp, 7 rsp, 16 rip.
#define UNWIND_REGISTERS 17

// `size` bytes of the unwound process at an address, or false. As the kernel's, it fails as a whole.
typedef bool (*unwind_read)(void *context, uint64_t address, void *to, size_t size);

// An executable mapping and its file's table, as in kiln_mappings.h; without a table, `cells` is NULL.
struct unwind_host_mapping {
	uint64_t start, end, bias;
	const uint64_t *cells;
	size_t cell_count;
	uint32_t granules;
};

struct unwind_host;

// The mappings are copied, the cells are not. NULL: without memory.
struct unwind_host *unwind_host_create(const struct unwind_host_mapping *mappings, size_t count);
void unwind_host_free(struct unwind_host *host);

// What the next stacks run in: the kernel's __USER_CS (0x33), as from the beginning, or __USER32_CS (0x23).
void unwind_host_set_code_segment(struct unwind_host *host, uint16_t segment);

// A return address that a probe has replaced: where it stood, and what it was.
struct unwind_host_return {
	uint64_t slot, address;
};

// Where the page of probes lies, and the probed calls, the latest first. False: without memory.
bool unwind_host_set_probes(struct unwind_host *host, uint64_t page, const struct unwind_host_return *returns, size_t count);

// Behind unwind_host_set_probes: the instruction at `original` runs as its copy.
void unwind_host_set_probed_instruction(struct unwind_host *host, uint64_t original, uint64_t copy);

// Where the process's first instruction found the stack pointer.
void unwind_host_set_stack_start(struct unwind_host *host, uint64_t address);

// Whether a program is being executed, or has given its memory back.
void unwind_host_set_memory(struct unwind_host *host, bool in_exec, bool exiting);

// Whether a call ends at an address: 1, 0, or 2 where the code can't be read.
int unwind_host_follows_call(struct unwind_host *host, uint64_t address, unwind_read read, void *context);

// Whether the next stacks are those of a trap, sampled in the kernel.
void unwind_host_set_trapped(struct unwind_host *host, bool trapped);

// The whole stack: return addresses from the innermost frame on, as the kernel would record them. Returns how many; `end` is an
// enum kiln_stack_end.
size_t unwind_host_stack(struct unwind_host *host, const uint64_t *registers, unwind_read read, void *context, uint64_t *frames,
	size_t capacity, unsigned *end);

// What one frame's row leads to.
struct unwind_step {
	uint64_t pc, sp, fp;
	// Where there is no caller: enum kiln_stack_end. Otherwise negative.
	int end;
};

// Only the innermost frame.
struct unwind_step unwind_host_step(struct unwind_host *host, const uint64_t *registers, unwind_read read, void *context);

#endif
