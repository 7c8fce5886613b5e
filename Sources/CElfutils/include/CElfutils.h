// libelf and libdw for Swift: their headers, and inline functions for macros and system calls that Swift can't import.
#ifndef KILN_CELFUTILS_H
#define KILN_CELFUTILS_H

#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <zlib.h>

static inline unsigned kiln_symbol_type(unsigned char info)
{
	return GELF_ST_TYPE(info);
}
static inline unsigned kiln_symbol_binding(unsigned char info)
{
	return GELF_ST_BIND(info);
}

static inline uint64_t kiln_relocation_symbol(uint64_t info)
{
	return GELF_R_SYM(info);
}
static inline uint64_t kiln_relocation_type(uint64_t info)
{
	return GELF_R_TYPE(info);
}

static inline int kiln_is_regular_file(mode_t mode)
{
	return S_ISREG(mode);
}

// Whether a file is of a file system that is known not to have files of others below its own, which the kernel then maps in their place.
bool kiln_is_of_plain_file_system(int file);

// Finds a path below a directory as if the directory were "/": symbolic links and ".." can't lead out of it. Returns a descriptor that only
// refers to the file (O_PATH), or -1 with errno if there is no such file, or before Linux 5.6.
int kiln_find_below(int root, const char *path);

#endif
