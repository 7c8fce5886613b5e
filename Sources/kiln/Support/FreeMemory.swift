import CMemory

/// Gives back to the kernel what isn't used: loading BPF programs, naming stacks and making pages need much memory and code for a moment.
func releaseFreeMemory() { kiln_release_memory() }
