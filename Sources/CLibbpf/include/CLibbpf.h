// libbpf for Swift, and functions for its C macros and va_list, and for system calls.
#ifndef KILN_CLIBBPF_H
#define KILN_CLIBBPF_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/// Captures the messages of libbpf instead of printing them. The thread that caused them reads them, including the verifier's log, with
/// kiln_libbpf_log_take. Also makes the C library return libbpf's freed memory to the kernel.
void kiln_libbpf_prepare(void);

/// Loads an object and returns the result of bpf_object__load(). Another thread loads the programs that probe functions ("uprobe",
/// "uretprobe"). `*probes` is 0 if all of them were loaded, or -errno; then the verifier's message is in the log.
int kiln_load_object(struct bpf_object *object, int *probes);

/// libbpf's warnings since the last call, NUL-terminated; valid until the next call of a libbpf function.
const char *kiln_libbpf_log_take(void);

/// Opens a timer that samples every task on one CPU, `frequency` times per second of CPU time. Returns a descriptor with O_CLOEXEC, or
/// -errno.
int kiln_perf_event_open_cpu_clock(int cpu, unsigned long frequency);

/// Opens a counter of every task on one CPU (perf_event_open(2)): `type` and `config` say of what. It calls its program once in `period` events, or,
/// with `frequency`, that many times a second. Returns a descriptor with O_CLOEXEC, or -errno.
int kiln_perf_event_open_counter(unsigned int type, unsigned long config, unsigned long period, unsigned long frequency, int cpu);

/// Calls `body` with the name of each tracepoint that the kernel and its modules have, by their type information. Returns 0, or -errno.
int kiln_for_each_tracepoint(void (*body)(void *context, const char *name), void *context);

/// The attributes of an event that counts nothing, but records each mapping of executable memory (PERF_RECORD_MMAP).
struct perf_event_attr kiln_code_mapping_events(void);

/// Creates a process that will execute a program, found in PATH, and waits before that. Returns its pid, or -errno. It continues when a
/// byte is written to `*start`, and ends if that is closed first. `*failure` then yields an int, the errno of a failed execution, or its
/// end. Signals are as they were before kiln changed them. `errors`: its standard error; then its standard output is `output`, or with -1
/// /dev/null, its standard input is /dev/null, and it gets SIGTERM when kiln ends. -1: it inherits all three from kiln.
int kiln_spawn_waiting(char *const arguments[], int output, int errors, int *start, int *failure);

/// Whether functions of programs can be probed: 0, or -errno. Probes a function of kiln for a moment.
int kiln_probe_uprobe(void);

/// Whether one link can attach a program to several functions of a process (BPF_TRACE_UPROBE_MULTI) in all of its threads: 0, or -errno.
/// Some kernels from Linux 6.6 on follow only one thread; this tests for an attach type that is newer than the fix (6.13).
int kiln_probe_uprobe_multi(void);

/// Before loading: marks a program for kiln_attach_to_functions.
void kiln_attach_to_functions_at_once(struct bpf_program *program);

/// Attaches a loaded program to functions of a process: `count` offsets in the file at `path`, each with its cookie. `semaphores`: the offsets
/// of the counters that enable them, 0 for none; NULL: nothing has one. Returns a link's descriptor, or -errno.
int kiln_attach_to_functions(int program, const char *path, const uint64_t *offsets, const uint64_t *semaphores, const uint64_t *cookies,
	unsigned int count, int pid, bool at_return);

/// A function of kiln that does nothing, to measure what probes cost: its first and its return instruction by their offset in kiln's file.
struct kiln_trial_function {
	uint64_t entry, at_return;
	void (*call)(void);
};

/// `stepping`: the kernel runs its first instruction in single step; otherwise it emulates it.
struct kiln_trial_function kiln_trial_function(bool stepping);

/// Whether one link can attach a program to functions of the kernel (BPF_TRACE_KPROBE_MULTI): 0, or -errno. Probes one for a moment.
int kiln_probe_kprobe_multi(void);

/// Attaches a loaded program of kind kprobe.multi to functions of the kernel, each with its cookie: by their addresses, or if these are NULL by
/// their names. Returns a link's descriptor, or -errno.
int kiln_attach_to_kernel_functions(
	int program, const char *const *names, const uint64_t *addresses, const uint64_t *cookies, unsigned int count);

/// The same for one function of the kernel, to measure what probes cost.
int kiln_attach_to_trial_function_of_kernel(int program, uint64_t cookie);

/// Its `call` calls that function. It has no place in kiln's file.
struct kiln_trial_function kiln_trial_function_of_kernel(void);

/// The time in nanoseconds of so many calls.
uint64_t kiln_time_calls(struct kiln_trial_function function, unsigned int count);

/// The limit of open files of a process, or -errno.
long kiln_descriptor_limit(int pid);

/// A descriptor that becomes readable when the process ends, or -errno.
int kiln_pidfd_open(int pid);

/// A descriptor that becomes readable when one of `signals` (blocked before) arrives, or -errno.
int kiln_signal_descriptor(const sigset_t *signals);

/// Reads the signal that made the descriptor readable. Returns it, or -errno.
int kiln_take_signal(int fd);

/// setns(2) into a network namespace: 0, or the negative errno.
int kiln_enter_network_namespace(int fd);

#endif
