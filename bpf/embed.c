/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The compiled BPF objects inside the binary, and the names both sides agree on. */
#include "kiln_objects.h"
#include <stddef.h>

#if !__has_embed("build/redis.bpf.o") || !__has_embed("build/client.bpf.o") || !__has_embed("build/trace.bpf.o") || \
	!__has_embed("build/syscalls.bpf.o") || !__has_embed("build/stacks.bpf.o")
#error "the BPF objects are missing: run `make bpf` first"
#endif

#define OBJECT(name) \
	static const unsigned char name##_bytes[] __attribute__((aligned(8)))

OBJECT(redis) = {
#embed "build/redis.bpf.o"
};
OBJECT(client) = {
#embed "build/client.bpf.o"
};
OBJECT(trace) = {
#embed "build/trace.bpf.o"
};
OBJECT(syscalls) = {
#embed "build/syscalls.bpf.o"
};
OBJECT(stacks) = {
#embed "build/stacks.bpf.o"
};

#define BYTES(name) ((struct kiln_object){ name##_bytes, sizeof name##_bytes })

struct kiln_object kiln_redis_object(void) { return BYTES(redis); }
struct kiln_object kiln_client_object(void) { return BYTES(client); }
struct kiln_object kiln_trace_object(void) { return BYTES(trace); }
struct kiln_object kiln_syscalls_object(void) { return BYTES(syscalls); }
struct kiln_object kiln_stacks_object(void) { return BYTES(stacks); }

#define X(symbol, name, meaning) { name, meaning },
static const struct kiln_loss redis_losses[] = { KILN_REDIS_LOSSES(X) };
static const struct kiln_loss syscall_losses[] = { KILN_SYSCALL_LOSSES(X) };
static const struct kiln_loss stack_losses[] = { KILN_STACK_LOSSES(X) };
static const struct kiln_loss stack_ends[] = { KILN_STACK_ENDS(X) };
#undef X

struct kiln_loss kiln_describe_redis_loss(unsigned int loss) { return redis_losses[loss]; }
struct kiln_loss kiln_describe_syscall_loss(unsigned int loss) { return syscall_losses[loss]; }
struct kiln_loss kiln_describe_stack_loss(unsigned int loss) { return stack_losses[loss]; }
struct kiln_loss kiln_describe_stack_end(unsigned int end) { return stack_ends[end]; }

#define X(name, class) { { name }, KILN_CLASS_##class },
#define LISTED(name) { { name }, KILN_CLASS_ORDINARY },
static const struct kiln_listed_command listed_commands[] = {
#include "command_names.inc"
	KILN_SPECIAL_COMMANDS(X)
};
#undef LISTED
#undef X

unsigned int kiln_listed_command_count(void) { return sizeof listed_commands / sizeof listed_commands[0]; }
struct kiln_listed_command kiln_listed_command(unsigned int index) { return listed_commands[index]; }

#define X(name, words) { { name }, words },
static const struct kiln_secret_command secret_commands[] = { KILN_SECRET_COMMANDS(X) };
#undef X

unsigned int kiln_secret_command_count(void) { return sizeof secret_commands / sizeof secret_commands[0]; }
struct kiln_secret_command kiln_secret_command(unsigned int index) { return secret_commands[index]; }

static const char *const syscall_names[KILN_SYSCALL_NUMBERS] = {
#include "build/syscall_names.inc"
};

const char *kiln_syscall_name(unsigned int number)
{
	return number < KILN_SYSCALL_NUMBERS ? syscall_names[number] : NULL;
}
