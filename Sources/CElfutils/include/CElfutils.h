// libelf for Swift: its headers, and inline functions for macros and system calls that Swift can't import.
#ifndef KILN_CELFUTILS_H
#define KILN_CELFUTILS_H

#include <elf.h>
#include <gelf.h>
#include <libelf.h>
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

// Finds a path below a directory as if the directory were "/": symbolic links and ".." can't lead out of it. Returns a descriptor that only
// refers to the file (O_PATH), or -1 with errno if there is no such file, or before Linux 5.6.
int kiln_find_below(int root, const char *path);

#endif
