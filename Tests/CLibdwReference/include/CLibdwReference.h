// libdw's opinion on call frame information and stacks, for tests to compare kiln's with. elfutils is a second, independent
// implementation.
#ifndef KILN_LIBDW_REFERENCE_H
#define KILN_LIBDW_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reference_cfi;

// Opens a file, or an ELF image in memory that has to outlive it. NULL where libdw can't. With is_debug_frame, .debug_frame only.
struct reference_cfi *reference_open(const char *path, bool is_debug_frame);
struct reference_cfi *reference_open_image(const void *image, size_t count);
void reference_close(struct reference_cfi *cfi);

// An operation of a DWARF expression.
struct reference_operation {
	uint8_t atom;
	uint64_t first, second;
};

#define REFERENCE_OPERATIONS 16

struct reference_location {
	// The caller's value is unknown; it is still in the register; or it is where the operations say.
	enum { REFERENCE_UNDEFINED, REFERENCE_SAME, REFERENCE_OPERATIONS_GIVEN } kind;
	// 0 .. REFERENCE_OPERATIONS; longer ones are cut.
	int count;
	struct reference_operation operations[REFERENCE_OPERATIONS];
};

// What holds from start up to end.
struct reference_frame {
	uint64_t start, end;
	bool is_signal;
	struct reference_location canonical_address, return_address, frame_pointer;
};

// False where libdw knows nothing of the address, or refuses what it reads there.
bool reference_frame_at(struct reference_cfi *cfi, uint64_t address, struct reference_frame *frame);

// Stacks, unwound by libdwfl from registers and memory that the caller has.
struct reference_process;

// With the files that a process has mapped now; or with one file at the addresses that it is linked for. NULL where libdwfl can't.
struct reference_process *reference_process_open(int pid);
struct reference_process *reference_process_open_file(const char *path);
void reference_process_close(struct reference_process *process);

// Registers by their DWARF number for x86-64: 6 rbp, 7 rsp, 16 rip.
#define REFERENCE_REGISTERS 17
#define REFERENCE_FRAMES 1024

// `size` bytes of the process at an address, or false.
typedef bool (*reference_read)(void *context, uint64_t address, void *to, size_t size);

struct reference_stack {
	// Innermost first.
	size_t count;
	uint64_t frames[REFERENCE_FRAMES];
	// Why there are no more; NULL at the outermost frame.
	const char *error;
	// A frame has no call frame information in .eh_frame: there libdwfl tries a frame pointer.
	bool is_guessed;
};

void reference_unwind_stack(
	struct reference_process *process, const uint64_t *registers, reference_read read, void *context, struct reference_stack *stack);

// What the innermost frame leads to.
struct reference_caller {
	bool is_found, is_sp_known, is_fp_known;
	uint64_t pc, sp, fp;
};

struct reference_caller reference_unwind_caller(
	struct reference_process *process, const uint64_t *registers, reference_read read, void *context);

#endif
