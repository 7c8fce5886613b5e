#define _GNU_SOURCE
#include "CMemory.h"

#include <link.h>
#include <malloc.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

static int release_code(struct dl_phdr_info *program, size_t size, void *context)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)context;
	for (int i = 0; i < program->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &program->dlpi_phdr[i];
		unsigned long start = program->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;

		// Never written, so nothing is lost: code that runs again is mapped again from the page cache.
		if (header->p_type != PT_LOAD || !(header->p_flags & PF_X) || header->p_flags & PF_W)
			continue;
		start = (start + page - 1) & ~(page - 1);
		end &= ~(page - 1);
		if (start < end)
			madvise((void *)start, end - start, MADV_DONTNEED);
	}
	// The first one is the program; libraries stay.
	return 1;
}

void kiln_release_memory(void)
{
	malloc_trim(0);
	dl_iterate_phdr(release_code, 0);
}

bool kiln_is_static(void)
{
	// The address of the dynamic linker: getauxval(3).
	return getauxval(AT_BASE) == 0;
}
