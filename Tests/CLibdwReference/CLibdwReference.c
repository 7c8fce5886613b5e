#include "CLibdwReference.h"
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct reference_cfi {
	int file;
	Elf *elf;
	Dwarf *dwarf;
	Dwarf_CFI *cfi;
};

static struct reference_cfi *finish(struct reference_cfi *opened, bool is_debug_frame)
{
	if (opened->elf && is_debug_frame) {
		opened->dwarf = dwarf_begin_elf(opened->elf, DWARF_C_READ, NULL);
		opened->cfi = opened->dwarf ? dwarf_getcfi(opened->dwarf) : NULL;
	} else if (opened->elf) {
		opened->cfi = dwarf_getcfi_elf(opened->elf);
	}
	if (opened->cfi)
		return opened;
	reference_close(opened);
	return NULL;
}

struct reference_cfi *reference_open(const char *path, bool is_debug_frame)
{
	struct reference_cfi *opened = calloc(1, sizeof *opened);
	if (!opened)
		return NULL;
	elf_version(EV_CURRENT);
	opened->file = open(path, O_RDONLY | O_CLOEXEC);
	opened->elf = opened->file >= 0 ? elf_begin(opened->file, ELF_C_READ, NULL) : NULL;
	return finish(opened, is_debug_frame);
}

struct reference_cfi *reference_open_image(const void *image, size_t count)
{
	struct reference_cfi *opened = calloc(1, sizeof *opened);
	if (!opened)
		return NULL;
	elf_version(EV_CURRENT);
	opened->file = -1;
	opened->elf = elf_memory((char *)image, count);
	return finish(opened, false);
}

void reference_close(struct reference_cfi *opened)
{
	if (opened->cfi && !opened->dwarf)
		dwarf_cfi_end(opened->cfi);
	if (opened->dwarf)
		dwarf_end(opened->dwarf);
	if (opened->elf)
		elf_end(opened->elf);
	if (opened->file >= 0)
		close(opened->file);
	free(opened);
}

static void copy(struct reference_location *location, const Dwarf_Op *operations, size_t count)
{
	location->kind = REFERENCE_OPERATIONS_GIVEN;
	location->count = count < REFERENCE_OPERATIONS ? count : REFERENCE_OPERATIONS;
	for (int i = 0; i < location->count; i++)
		location->operations[i] = (struct reference_operation){ operations[i].atom, operations[i].number, operations[i].number2 };
}

static bool find(Dwarf_Frame *frame, int number, struct reference_location *location)
{
	Dwarf_Op memory[3], *operations;
	size_t count;
	if (dwarf_frame_register(frame, number, memory, &operations, &count))
		return false;
	copy(location, operations, count);
	if (!count)
		location->kind = operations ? REFERENCE_UNDEFINED : REFERENCE_SAME;
	return true;
}

bool reference_frame_at(struct reference_cfi *cfi, uint64_t address, struct reference_frame *result)
{
	Dwarf_Frame *frame;
	Dwarf_Op *operations;
	size_t count;
	if (dwarf_cfi_addrframe(cfi->cfi, address, &frame))
		return false;
	Dwarf_Addr start, end;
	bool is_signal;
	int return_address = dwarf_frame_info(frame, &start, &end, &is_signal);
	*result = (struct reference_frame){ .start = start, .end = end, .is_signal = is_signal };
	bool is_known = return_address >= 0 && find(frame, return_address, &result->return_address) &&
		find(frame, 6, &result->frame_pointer);
	// An undefined CFA is no error: the outermost frame needs none.
	if (is_known && !dwarf_frame_cfa(frame, &operations, &count))
		copy(&result->canonical_address, operations, count);
	free(frame);
	return is_known;
}
