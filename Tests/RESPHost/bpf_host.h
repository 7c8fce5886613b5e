#ifndef RESPHOST_BPF_HOST_H
#define RESPHOST_BPF_HOST_H

#include <linux/types.h>
#include <stdlib.h>
#include <string.h>

// What the scanner takes from BPF, for user space.
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))

static long bpf_probe_read_user(void *to, __u32 size, const void *from)
{
	memcpy(to, from, size);
	return 0;
}

#define bpf_loop(count, callback, context, flags) \
	do { \
		for (__u32 index = 0; index < (count) && !(callback)(index, context); index++) \
			; \
	} while (0)

#endif
