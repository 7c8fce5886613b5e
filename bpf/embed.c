/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The compiled BPF objects inside the binary, and the names both sides agree on. */
#include "kiln_objects.h"
#include <stddef.h>

#if !__has_embed("build/redis.bpf.o") || !__has_embed("build/redis-client.bpf.o") || !__has_embed("build/redis-trace.bpf.o") || \
	!__has_embed("build/syscalls.bpf.o") || !__has_embed("build/syscall_times.bpf.o") || !__has_embed("build/stacks.bpf.o") || \
	!__has_embed("build/exec.bpf.o") || !__has_embed("build/call_trace.bpf.o") || !__has_embed("build/functions.bpf.o")
#error "the BPF objects are missing: run `make bpf` first"
#endif

#define OBJECT(name) static const unsigned char name##_bytes[] __attribute__((aligned(8)))

OBJECT(redis) = {
#embed "build/redis.bpf.o"
};
OBJECT(client) = {
#embed "build/redis-client.bpf.o"
};
OBJECT(trace) = {
#embed "build/redis-trace.bpf.o"
};
OBJECT(syscalls) = {
#embed "build/syscalls.bpf.o"
};
OBJECT(syscall_times) = {
#embed "build/syscall_times.bpf.o"
};
OBJECT(stacks) = {
#embed "build/stacks.bpf.o"
};
OBJECT(exec) = {
#embed "build/exec.bpf.o"
};
OBJECT(call_trace) = {
#embed "build/call_trace.bpf.o"
};
OBJECT(functions) = {
#embed "build/functions.bpf.o"
};

#define BYTES(name) ((struct kiln_object){ name##_bytes, sizeof name##_bytes })

struct kiln_object kiln_redis_object(void)
{
	return BYTES(redis);
}
struct kiln_object kiln_client_object(void)
{
	return BYTES(client);
}
struct kiln_object kiln_trace_object(void)
{
	return BYTES(trace);
}
struct kiln_object kiln_syscalls_object(void)
{
	return BYTES(syscalls);
}
struct kiln_object kiln_syscall_times_object(void)
{
	return BYTES(syscall_times);
}
struct kiln_object kiln_stacks_object(void)
{
	return BYTES(stacks);
}
struct kiln_object kiln_exec_object(void)
{
	return BYTES(exec);
}
struct kiln_object kiln_call_trace_object(void)
{
	return BYTES(call_trace);
}
struct kiln_object kiln_functions_object(void)
{
	return BYTES(functions);
}

#define X(symbol, name, meaning) { name, meaning },
static const struct kiln_loss request_losses[] = { KILN_REQUEST_LOSSES(X) };
static const struct kiln_loss syscall_losses[] = { KILN_SYSCALL_LOSSES(X) };
static const struct kiln_loss syscall_time_losses[] = { KILN_SYSCALL_TIME_LOSSES(X) };
static const struct kiln_loss stack_losses[] = { KILN_STACK_LOSSES(X) };
static const struct kiln_loss exec_losses[] = { KILN_EXEC_LOSSES(X) };
static const struct kiln_loss call_losses[] = { KILN_CALL_LOSSES(X) };
static const struct kiln_loss function_losses[] = { KILN_FUNCTION_LOSSES(X) };
static const struct kiln_loss stack_ends[] = { KILN_STACK_ENDS(X) };
static const struct kiln_loss unknown_work[] = { KILN_UNKNOWN_WORK(X) };
#undef X

struct kiln_loss kiln_describe_request_loss(unsigned int loss)
{
	return request_losses[loss];
}
/* No default: a new loss has to say what it hides. */
#pragma clang diagnostic push
#pragma clang diagnostic error "-Wswitch"
enum kiln_hidden kiln_request_loss_hides(unsigned int loss)
{
	switch ((enum kiln_request_loss)loss) {
	case KILN_LOST_UNSYNCHRONISED_BYTES:
	case KILN_LOST_TLS_CONNECTIONS:
	case KILN_LOST_UNSUPPORTED_CONNECTIONS:
	case KILN_LOST_RECEIVE_GAPS:
	case KILN_LOST_UNSUPPORTED_RECEIVES:
	case KILN_LOST_SPLIT_RECEIVES:
	case KILN_LOST_DISCARDED_RECEIVES:
	case KILN_LOST_UNREADABLE_BUFFERS:
	case KILN_LOST_PREEMPTED_CALLS:
	case KILN_LOST_CONNECTIONS_WITHOUT_STATE:
		return KILN_HIDES_REQUESTS;
	case KILN_LOST_PROTOCOL_ERRORS:
	case KILN_LOST_RECEIVE_STEPS_EXCEEDED:
		return KILN_HIDES_REST;
	case KILN_LOST_COMMANDS_MAP_FULL:
	case KILN_LOST_COMMAND_NAMES_TOO_LONG:
		return KILN_HIDES_NAMES;
	case KILN_LOST_UNTIMED_COMMANDS:
	case KILN_LOST_UNMATCHED_CONNECTIONS:
	case KILN_LOST_UNSUPPORTED_SENDS:
	case KILN_LOST_SEND_STEPS_EXCEEDED:
	case KILN_LOST_ERRORS_WITHOUT_NAME:
		return KILN_HIDES_REPLIES;
	case KILN_LOST_OTHER_PROTOCOL_CONNECTIONS: /* they hold none */
	case KILN_LOST_DISPLACED_CONNECTIONS:      /* what they send next is unsynchronised_bytes */
	case KILN_LOST_WAITS_WITHOUT_NAME:
	case KILN_LOST_CLIENTS_MAP_FULL:
	case KILN_LOST_TRACE_RING_FULL:
	case KILN_LOST_UNTRACED_COMMANDS:
	case KILN_LOST_UNTRACED_PUSHES:
	case KILN_LOST_TRACED_REQUESTS_WITHOUT_ROOM:
	case KILN_REQUEST_LOSS_COUNT:
		return KILN_HIDES_NOTHING;
	}
	return KILN_HIDES_NOTHING;
}
#pragma clang diagnostic pop

struct kiln_loss kiln_describe_syscall_loss(unsigned int loss)
{
	return syscall_losses[loss];
}
struct kiln_loss kiln_describe_syscall_time_loss(unsigned int loss)
{
	return syscall_time_losses[loss];
}
struct kiln_loss kiln_describe_stack_loss(unsigned int loss)
{
	return stack_losses[loss];
}
struct kiln_loss kiln_describe_exec_loss(unsigned int loss)
{
	return exec_losses[loss];
}
struct kiln_loss kiln_describe_call_loss(unsigned int loss)
{
	return call_losses[loss];
}
struct kiln_loss kiln_describe_function_loss(unsigned int loss)
{
	return function_losses[loss];
}
struct kiln_loss kiln_describe_stack_end(unsigned int end)
{
	return stack_ends[end];
}
struct kiln_loss kiln_describe_unknown_work(unsigned int reason)
{
	return unknown_work[reason];
}

#define X(name, class) { { name }, KILN_CLASS_##class },
#define LISTED(name) { { name }, KILN_CLASS_ORDINARY },
static const struct kiln_listed_command listed_commands[] = {
#include "protocols/redis/command_names.inc"
	KILN_SPECIAL_COMMANDS(X)
};
#undef LISTED
#undef X

unsigned int kiln_listed_command_count(void)
{
	return sizeof listed_commands / sizeof listed_commands[0];
}
struct kiln_listed_command kiln_listed_command(unsigned int index)
{
	return listed_commands[index];
}

#define X(name, words) { { name }, words },
static const struct kiln_secret_command secret_commands[] = { KILN_SECRET_COMMANDS(X) };
#undef X

unsigned int kiln_secret_command_count(void)
{
	return sizeof secret_commands / sizeof secret_commands[0];
}
struct kiln_secret_command kiln_secret_command(unsigned int index)
{
	return secret_commands[index];
}

static const char *const syscall_names[KILN_ABI_COUNT][KILN_ABI_NUMBERS] = {
#include "build/syscall_names.inc"
};

const char *kiln_syscall_name(unsigned int abi, unsigned int number)
{
	return abi < KILN_ABI_COUNT && number < KILN_ABI_NUMBERS ? syscall_names[abi][number] : NULL;
}

static const char *const signal_names[] = {
#include "build/signal_names.inc"
};

const char *kiln_signal_name(unsigned int number)
{
	return number < sizeof signal_names / sizeof signal_names[0] ? signal_names[number] : NULL;
}

static const char *const errno_names[] = {
#include "build/errno_names.inc"
	/* Those that no program sees: of calls that a signal interrupted (include/linux/errno.h). */
	[512] = "ERESTARTSYS",
	[513] = "ERESTARTNOINTR",
	[514] = "ERESTARTNOHAND",
	[515] = "ENOIOCTLCMD",
	[516] = "ERESTART_RESTARTBLOCK",
};

const char *kiln_errno_name(unsigned int number)
{
	return number < sizeof errno_names / sizeof errno_names[0] ? errno_names[number] : NULL;
}
