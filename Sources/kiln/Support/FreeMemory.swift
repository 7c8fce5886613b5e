import CMemory

/// Returns unused memory to the kernel. Loading BPF programs, naming stacks and making pages need much memory for a short time.
func releaseFreeMemory() { kiln_release_memory() }
