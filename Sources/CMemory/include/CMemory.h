// This process's own memory.
#ifndef KILN_CMEMORY_H
#define KILN_CMEMORY_H

// Returns unused memory to the kernel: memory that malloc holds free, and mapped pages of the program's own code.
void kiln_release_memory(void);

#endif
