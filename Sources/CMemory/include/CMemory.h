// This process's own memory.
#ifndef KILN_CMEMORY_H
#define KILN_CMEMORY_H

// Gives back to the kernel what isn't used: free memory of malloc, and the mapped pages of the program's own code.
void kiln_release_memory(void);

#endif
