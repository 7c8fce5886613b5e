// libelf and libdw for Swift: their own headers, and inline functions for what they and the kernel offer only as macros or
// bare system calls, which Swift cannot import.
#ifndef KILN_CELFUTILS_H
#define KILN_CELFUTILS_H

#include <dwarf.h>
#include <elf.h>
#include <elfutils/libdw.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>
#include <zlib.h>

static inline unsigned kiln_symbol_type(unsigned char info) { return GELF_ST_TYPE(info); }
static inline unsigned kiln_symbol_binding(unsigned char info) { return GELF_ST_BIND(info); }

static inline uint64_t kiln_relocation_symbol(uint64_t info) { return GELF_R_SYM(info); }
static inline uint64_t kiln_relocation_type(uint64_t info) { return GELF_R_TYPE(info); }

static inline int kiln_is_regular_file(mode_t mode) { return S_ISREG(mode); }

// Find a path in the tree below a directory as if the directory were "/": no symbolic link and no ".." leads out of it.
// The descriptor only stands for the file (O_PATH). -1 with errno where there is none, or before Linux 5.6.
int kiln_find_below(int root, const char *path);

#endif
