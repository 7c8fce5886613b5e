// libbpf as Swift sees it, and the few shims that C macros and va_list force.
#ifndef KILN_CLIBBPF_H
#define KILN_CLIBBPF_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/// Keep what libbpf says instead of printing it. The text, the verifier's log included, can be taken with
/// kiln_libbpf_log_take by the thread that it was said to. Freed memory of libbpf's goes back to the kernel.
void kiln_libbpf_prepare(void);

/// bpf_object__load(): what it returns. Programs that probe functions ("uprobe", "uretprobe") are loaded meanwhile, by another thread;
/// `*probes`: 0 if all of them were, or -errno, and then what the verifier said is in the log.
int kiln_load_object(struct bpf_object *object, int *probes);

/// What libbpf said since the last call (warnings only), NUL-terminated; valid until the next call of a libbpf function.
const char *kiln_libbpf_log_take(void);

/// A timer that samples every task on one CPU, at `frequency` samples a second of CPU time: an open file descriptor that
/// closes on exec, or -errno.
int kiln_perf_event_open_cpu_clock(int cpu, unsigned long frequency);

/// An event that counts nothing, but records each mapping of executable memory (PERF_RECORD_MMAP).
struct perf_event_attr kiln_code_mapping_events(void);

/// Start a program, found by PATH, that waits before its first instruction: its pid, or -errno. It goes on when a byte is
/// written to `*start`, and ends when that is closed before. `*failure` then gives an int, the errno that kept it from being
/// executed, or its end. Signals are as they were before kiln blocked and ignored some. `errors`: its standard error, and then
/// nothing is its input and output, and it is asked to end (SIGTERM) when kiln ends; -1: kiln's own.
int kiln_spawn_waiting(char *const arguments[], int errors, int *start, int *failure);

/// Whether functions of programs can be probed: 0, or -errno. One of kiln's own is, for a moment.
int kiln_probe_uprobe(void);

/// Whether one link can attach a program to several functions of a process (BPF_TRACE_UPROBE_MULTI), all of its threads included: 0, or
/// -errno. Some kernels from Linux 6.6 on follow one thread alone; the attach type that is asked about came after that was mended (6.13).
int kiln_probe_uprobe_multi(void);

/// Before loading: the program will be attached by kiln_attach_to_functions.
void kiln_attach_to_functions_at_once(struct bpf_program *program);

/// Attach a loaded program to functions of a process: `count` offsets into the file at `path`, each with its cookie. A link's descriptor,
/// or -errno.
int kiln_attach_to_functions(int program, const char *path, const uint64_t *offsets, const uint64_t *cookies, unsigned int count, int pid, bool at_return);

/// How many descriptors a process may have open, or -errno.
long kiln_descriptor_limit(int pid);

/// A descriptor that becomes readable when the process ends, or -errno.
int kiln_pidfd_open(int pid);

/// A descriptor that becomes readable when one of `signals` (blocked before) arrives, or -errno.
int kiln_signal_descriptor(const sigset_t *signals);

/// The signal that made the descriptor readable, taken off it, or -errno.
int kiln_take_signal(int fd);

/// setns(2) into a network namespace: 0, or the negative errno.
int kiln_enter_network_namespace(int fd);

#endif
