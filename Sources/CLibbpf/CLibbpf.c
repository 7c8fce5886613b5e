#define _GNU_SOURCE
#include "CLibbpf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int kiln_perf_event_open_cpu_clock(int cpu, unsigned long frequency)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof attributes,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_freq = frequency,
		.freq = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kiln_perf_event_open_counter(unsigned int type, unsigned long config, unsigned long period, unsigned long frequency, int cpu)
{
	struct perf_event_attr attributes = {
		.type = type,
		.size = sizeof attributes,
		.config = config,
		.sample_period = frequency ? frequency : period,
		.freq = frequency != 0,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Each tracepoint has a type for the functions that it calls, by which programs are attached to it (tp_btf). */
static void tracepoints_of(const struct btf *types, __u32 first, void (*body)(void *context, const char *name), void *context)
{
	static const char prefix[] = "btf_trace_";

	for (__u32 id = first; id < btf__type_cnt(types); id++) {
		const struct btf_type *type = btf__type_by_id(types, id);
		const char *name = type && btf_is_typedef(type) ? btf__name_by_offset(types, type->name_off) : NULL;

		if (name && !strncmp(name, prefix, sizeof prefix - 1))
			body(context, name + sizeof prefix - 1);
	}
}

int kiln_for_each_tracepoint(void (*body)(void *context, const char *name), void *context)
{
	struct btf *kernel = btf__load_vmlinux_btf(), *module;
	struct dirent *entry;
	DIR *modules;

	if (!kernel)
		return -errno;
	tracepoints_of(kernel, 1, body, context);
	modules = opendir("/sys/kernel/btf");
	while (modules && (entry = readdir(modules))) {
		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "vmlinux"))
			continue;
		module = btf__load_module_btf(entry->d_name, kernel);
		if (module)
			tracepoints_of(module, btf__type_cnt(kernel), body, context);
		btf__free(module);
	}
	if (modules)
		closedir(modules);
	btf__free(kernel);
	return 0;
}

struct perf_event_attr kiln_code_mapping_events(void)
{
	return (struct perf_event_attr){
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(struct perf_event_attr),
		.config = PERF_COUNT_SW_DUMMY,
		.mmap = 1,
	};
}

int kiln_spawn_waiting(char *const arguments[], int output, int errors, int *start, int *failure)
{
	int starting[2], failing[2], child, nothing, error = 0, parent = getpid();
	sigset_t none;
	char byte;

	if (pipe2(starting, O_CLOEXEC))
		return -errno;
	if (pipe2(failing, O_CLOEXEC)) {
		error = errno;
		close(starting[0]);
		close(starting[1]);
		return -error;
	}
	sigemptyset(&none);
	child = fork();
	if (child == 0) {
		close(starting[1]);
		if (read(starting[0], &byte, 1) != 1)
			_exit(127);
		if (errors >= 0) {
			/* The command ends with kiln. The kernel clears this setting if the program has file capabilities. */
			if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
				_exit(127);
			nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
			dup2(nothing, STDIN_FILENO);
			dup2(output >= 0 ? output : nothing, STDOUT_FILENO);
			dup2(errors, STDERR_FILENO);
		}
		signal(SIGPIPE, SIG_DFL);
		signal(SIGXFSZ, SIG_DFL);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execvp(arguments[0], arguments);
		error = errno;
		if (write(failing[1], &error, sizeof error) < 0)
			_exit(126);
		_exit(127);
	}
	error = child < 0 ? errno : 0;
	close(starting[0]);
	close(failing[1]);
	if (error) {
		close(starting[1]);
		close(failing[0]);
		return -error;
	}
	*start = starting[1];
	*failure = failing[0];
	return child;
}

/* A function in kiln's own file, to be probed. */
__attribute__((noinline)) void kiln_probed_function(void)
{
	__asm__ volatile("");
}

/* Finds the offset of a function in kiln's file: `place` holds its address, and then the offset. */
static int find_probed(struct dl_phdr_info *object, size_t size, void *place)
{
	uint64_t address = *(uint64_t *)place - object->dlpi_addr, *found = place;

	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD && address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_filesz) {
			*found = address - segment->p_vaddr + segment->p_offset;
			return 1;
		}
	}
	return 0;
}

/* Functions to measure what probes cost: the kernel emulates the first instruction of one, and runs that of the other in single step. */
void kiln_pushing_function(void);
void kiln_stepping_function(void);
extern const char kiln_pushing_return[], kiln_stepping_return[];

__asm__(".text\n"
	".type kiln_pushing_function, @function\n"
	"kiln_pushing_function: push %rbp\n"
	"pop %rbp\n"
	"kiln_pushing_return: ret\n"
	".size kiln_pushing_function, . - kiln_pushing_function\n"
	".type kiln_stepping_function, @function\n"
	"kiln_stepping_function: lea 0(%rsp), %rsp\n"
	"kiln_stepping_return: ret\n"
	".size kiln_stepping_function, . - kiln_stepping_function\n");

struct kiln_trial_function kiln_trial_function(bool stepping)
{
	struct kiln_trial_function function = {
		.entry = (uint64_t)(stepping ? kiln_stepping_function : kiln_pushing_function),
		.at_return = (uint64_t)(stepping ? kiln_stepping_return : kiln_pushing_return),
		.call = stepping ? kiln_stepping_function : kiln_pushing_function,
	};

	dl_iterate_phdr(find_probed, &function.entry);
	dl_iterate_phdr(find_probed, &function.at_return);
	return function;
}

/* The time of so many calls. */
uint64_t kiln_time_calls(struct kiln_trial_function function, unsigned int count)
{
	struct timespec began, ended;

	clock_gettime(CLOCK_MONOTONIC, &began);
	for (unsigned int i = 0; i < count; i++)
		function.call();
	clock_gettime(CLOCK_MONOTONIC, &ended);
	return (uint64_t)(ended.tv_sec - began.tv_sec) * 1000000000 + (uint64_t)(ended.tv_nsec - began.tv_nsec);
}

int kiln_probe_uprobe(void)
{
	struct perf_event_attr attributes = { .size = sizeof attributes, .config1 = (uint64_t) "/proc/self/exe" };
	uint64_t offset = (uint64_t)kiln_probed_function;
	unsigned int type;
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int fd, read = 0;

	if (!file)
		return -errno;
	read = fscanf(file, "%u", &type);
	fclose(file);
	if (read != 1 || !dl_iterate_phdr(find_probed, &offset))
		return -EINVAL;
	attributes.type = type;
	attributes.config2 = offset;
	fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* The kernel's structure and numbers (linux/bpf.h of Linux 6.13), which the headers of older distributions lack. */
struct uprobe_multi_link {
	__u32 program, target, attach_type, flags;
	__u64 path, offsets, reference_offsets, cookies;
	__u32 count, link_flags, pid, reserved;
};

enum { UPROBE_MULTI = 48, UPROBE_SESSION = 57 };
enum { UPROBE_MULTI_AT_RETURN = 1 };

int kiln_probe_uprobe_multi(void)
{
	static const struct bpf_insn instructions[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = (enum bpf_attach_type)UPROBE_SESSION);
	unsigned long offset = 0;
	struct uprobe_multi_link link = { .attach_type = UPROBE_SESSION, .path = (__u64) "/", .offsets = (__u64)&offset, .count = 1 };
	int program = bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", instructions, 2, &options), fd, error;

	if (program < 0)
		return program;
	link.program = (__u32)program;
	fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof link);
	error = fd < 0 ? errno : EINVAL;
	if (fd >= 0)
		close(fd);
	close(program);
	/* A directory has no functions. A kernel that reports that error knows the attach type. */
	return error == EBADF ? 0 : -error;
}

void kiln_attach_to_functions_at_once(struct bpf_program *program)
{
	bpf_program__set_expected_attach_type(program, (enum bpf_attach_type)UPROBE_MULTI);
}

int kiln_attach_to_functions(int program, const char *path, const uint64_t *offsets, const uint64_t *semaphores, const uint64_t *cookies,
	unsigned int count, int pid, bool at_return)
{
	struct uprobe_multi_link link = {
		.program = (__u32)program,
		.attach_type = UPROBE_MULTI,
		.path = (__u64)path,
		.offsets = (__u64)offsets,
		.reference_offsets = (__u64)semaphores,
		.cookies = (__u64)cookies,
		.count = count,
		.link_flags = at_return ? UPROBE_MULTI_AT_RETURN : 0,
		.pid = (__u32)pid,
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof link);

	return fd < 0 ? -errno : fd;
}

int kiln_attach_to_kernel_functions(
	int program, const char *const *names, const uint64_t *addresses, const uint64_t *cookies, unsigned int count)
{
	LIBBPF_OPTS(bpf_link_create_opts, options);
	int fd;

	options.kprobe_multi.cnt = count;
	options.kprobe_multi.syms = (const char **)names;
	options.kprobe_multi.addrs = (const unsigned long *)addresses;
	options.kprobe_multi.cookies = cookies;
	fd = bpf_link_create(program, 0, BPF_TRACE_KPROBE_MULTI, &options);
	return fd < 0 ? -errno : fd;
}

static const char *const trial_function_of_kernel[] = { "__x64_sys_getppid" };

int kiln_attach_to_trial_function_of_kernel(int program, uint64_t cookie)
{
	return kiln_attach_to_kernel_functions(program, trial_function_of_kernel, NULL, &cookie, 1);
}

static void call_kernel(void)
{
	syscall(SYS_getppid);
}

struct kiln_trial_function kiln_trial_function_of_kernel(void)
{
	return (struct kiln_trial_function){ .call = call_kernel };
}

int kiln_probe_kprobe_multi(void)
{
	static const struct bpf_insn instructions[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_KPROBE_MULTI);
	int program = bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", instructions, 2, &options), fd;

	if (program < 0)
		return program;
	fd = kiln_attach_to_trial_function_of_kernel(program, 0);
	if (fd >= 0)
		close(fd);
	close(program);
	return fd < 0 ? fd : 0;
}

long kiln_descriptor_limit(int pid)
{
	struct rlimit limit;

	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit))
		return -errno;
	return limit.rlim_cur < LONG_MAX ? (long)limit.rlim_cur : LONG_MAX;
}

int kiln_pidfd_open(int pid)
{
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

int kiln_signal_descriptor(const sigset_t *signals)
{
	int fd = signalfd(-1, signals, SFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kiln_take_signal(int fd)
{
	struct signalfd_siginfo arrived;

	return read(fd, &arrived, sizeof arrived) == sizeof arrived ? (int)arrived.ssi_signo : -errno;
}

int kiln_enter_network_namespace(int fd)
{
	return setns(fd, CLONE_NEWNET) ? -errno : 0;
}
