/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What user space takes from this folder: the embedded objects and the names of losses and system calls. */
#ifndef KILN_OBJECTS_H
#define KILN_OBJECTS_H

#include <stddef.h>
#include "kiln_call_trace.h"
#include "kiln_exec.h"
#include "kiln_functions.h"
#include "kiln_members.h"
#include "kiln_python.h"
#include "kiln_redis.h"
#include "kiln_requests.h"
#include "kiln_stacks.h"
#include "kiln_syscall_times.h"
#include "kiln_syscalls.h"
#include "kiln_tls.h"
#include "kiln_trace.h"
#include "kiln_turns.h"
#include "kiln_unwind.h"
#include "kiln_work.h"

/* A compiled BPF object, 8-byte aligned, alive for ever. */
struct kiln_object {
	const void *bytes;
	size_t size;
};

struct kiln_object kiln_redis_object(void);
struct kiln_object kiln_client_object(void); /* the client's side */
struct kiln_object kiln_trace_object(void);  /* the server's side, with records of single requests */
struct kiln_object kiln_syscalls_object(void);
struct kiln_object kiln_syscall_times_object(void);
struct kiln_object kiln_stacks_object(void);
struct kiln_object kiln_exec_object(void);
struct kiln_object kiln_call_trace_object(void); /* single system calls */
struct kiln_object kiln_functions_object(void);

/* A kind of loss, or of a stack's end: its name in every output, and what it means. */
struct kiln_loss {
	const char *name;
	const char *meaning;
};

/* What each loss keeps from being counted, for the audit. */
enum kiln_hidden {
	KILN_HIDES_NOTHING,  /* of what a server counts, too */
	KILN_HIDES_REQUESTS, /* bytes of requests that were not followed */
	KILN_HIDES_REST,     /* requests behind others in bytes that were followed */
	KILN_HIDES_NAMES,    /* requests that count under another name */
	KILN_HIDES_REPLIES,  /* replies of requests that were counted */
};

enum kiln_hidden kiln_request_loss_hides(unsigned int loss);

/* Commands for the map `listed_commands`; those that are not ordinary come last, and again. */
struct kiln_listed_command {
	struct kiln_command_name name;
	unsigned int command_class;
};

unsigned int kiln_listed_command_count(void);
struct kiln_listed_command kiln_listed_command(unsigned int index);

/* Commands of which a trace keeps words back, for the map `trace_names`. */
struct kiln_secret_command {
	struct kiln_command_name name;
	unsigned int words;
};

unsigned int kiln_secret_command_count(void);
struct kiln_secret_command kiln_secret_command(unsigned int index);

struct kiln_loss kiln_describe_request_loss(unsigned int loss);
struct kiln_loss kiln_describe_syscall_loss(unsigned int loss);
struct kiln_loss kiln_describe_syscall_time_loss(unsigned int loss);
struct kiln_loss kiln_describe_stack_loss(unsigned int loss);
struct kiln_loss kiln_describe_exec_loss(unsigned int loss);
struct kiln_loss kiln_describe_call_loss(unsigned int loss);
struct kiln_loss kiln_describe_function_loss(unsigned int loss);

/* How a user stack ended: its name in every output, and what it means. */
struct kiln_loss kiln_describe_stack_end(unsigned int end);

/* Why it is not known what a thread works on: its name in every output, and what it means. */
struct kiln_loss kiln_describe_unknown_work(unsigned int reason);

/* The name of a system call in one of the tables (enum kiln_syscall_abi), or NULL. */
const char *kiln_syscall_name(unsigned int abi, unsigned int number);

/* The name of a signal, or NULL. */
const char *kiln_signal_name(unsigned int number);

/* The name of an error that a system call returns, or NULL. */
const char *kiln_errno_name(unsigned int number);

#endif
