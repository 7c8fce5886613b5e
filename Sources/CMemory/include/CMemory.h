// This process's own memory and program.
#ifndef KILN_CMEMORY_H
#define KILN_CMEMORY_H

#include <stdbool.h>

// Returns unused memory to the kernel: memory that malloc holds free, and mapped pages of the program's own code.
void kiln_release_memory(void);

// Whether this program needs no libraries of the host.
bool kiln_is_static(void);

#endif
