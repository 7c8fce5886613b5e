// Loads BPF objects on several threads, and captures the messages of libbpf.
#define _GNU_SOURCE
#include "CLibbpf.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- messages of libbpf and the verifier --------------------------------------------------------------------- */

// A verifier's log can have megabytes. Its end has the reason of a refusal, so the oldest text is dropped. Several threads load objects, so
// each one has its own log.
enum { LOG_BYTES = 64 << 10 };
static _Thread_local char log_text[LOG_BYTES];
static _Thread_local char taken_text[LOG_BYTES];
static _Thread_local size_t log_length;

static void add_to_log(const char *text)
{
	size_t length = strlen(text);

	if (length > LOG_BYTES / 2) {
		text += length - LOG_BYTES / 2;
		length = LOG_BYTES / 2;
	}
	if (log_length + length >= LOG_BYTES) {
		size_t kept = LOG_BYTES / 4;

		if (kept > log_length)
			kept = log_length;
		memmove(log_text, log_text + log_length - kept, kept);
		log_length = kept;
	}
	memcpy(log_text + log_length, text, length);
	log_length += length;
}

const char *kiln_libbpf_log_take(void)
{
	memcpy(taken_text, log_text, log_length);
	taken_text[log_length] = '\0';
	log_length = 0;
	return taken_text;
}

static int hear(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char *text = NULL;

	if (level != LIBBPF_WARN || vasprintf(&text, format, arguments) < 0)
		return 0;
	add_to_log(text);
	free(text);
	return 0;
}

/* ---- programs that another thread loads ---------------------------------------------------------------------- */

// Verifying the probes of functions takes as long as verifying an object's other programs, and libbpf loads one program after another. So
// another thread loads the probes once libbpf has created the maps and relocated the instructions. libbpf itself loads an empty program
// instead of each probe, whose descriptor is replaced by that of the probe in the end.
struct apart {
	struct bpf_program *program;
	const char *name;
	enum bpf_prog_type type;
	struct bpf_prog_load_opts options;
	struct bpf_insn *instructions;
	size_t count;
	struct apart *before; // NULL for the first one
	pthread_t thread;     // ends after that of the one before
	int fd;               // or -errno
	char *log;            // the verifier's log, if it refused the program
};

enum { APART_MOST = 8, VERIFIER_LOG_BYTES = 16 << 20 };
static const char LICENSE[] = "Dual BSD/GPL";

// The probes of the object that this thread is loading.
static _Thread_local struct apart loaded_apart[APART_MOST];
static _Thread_local int apart_count;

static void *load_apart(void *argument)
{
	struct apart *apart = argument;

	// One after another, because two CPUs are busy with one of these and one of the object's other programs. If one is refused, the others are
	// not needed.
	if (apart->before) {
		pthread_join(apart->before->thread, NULL);
		if (apart->before->fd < 0) {
			apart->fd = -ECANCELED;
			return NULL;
		}
	}
	apart->fd = bpf_prog_load(apart->type, apart->name, LICENSE, apart->instructions, apart->count, &apart->options);
	if (apart->fd >= 0)
		return NULL;
	apart->log = calloc(1, VERIFIER_LOG_BYTES);
	if (!apart->log)
		return NULL;
	apart->options.log_level = 1;
	apart->options.log_buf = apart->log;
	apart->options.log_size = VERIFIER_LOG_BYTES;
	apart->fd = bpf_prog_load(apart->type, apart->name, LICENSE, apart->instructions, apart->count, &apart->options);
	return NULL;
}

/* Called before libbpf loads a probe. */
static int prepare_probe(struct bpf_program *program, struct bpf_prog_load_opts *options, long cookie)
{
	static struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct apart *apart = &loaded_apart[apart_count];
	size_t size = bpf_program__insn_cnt(program) * sizeof *apart->instructions;

	(void)cookie;
	if (apart_count == APART_MOST || options->fd_array) // it is valid only during this call
		return 0;
	*apart = (struct apart){
		.program = program,
		.name = bpf_program__name(program),
		.type = bpf_program__type(program),
		.options = *options,
		.count = bpf_program__insn_cnt(program),
		.before = apart_count ? apart - 1 : NULL,
	};
	apart->instructions = malloc(size);
	if (!apart->instructions)
		return -ENOMEM;
	memcpy(apart->instructions, bpf_program__insns(program), size);
	if (pthread_create(&apart->thread, NULL, load_apart, apart)) {
		free(apart->instructions);
		return 0;
	}
	apart_count++;
	options->func_info_cnt = options->line_info_cnt = 0;
	return bpf_program__set_insns(program, nothing, sizeof nothing / sizeof *nothing);
}

/* Waits until all probes are loaded or refused. Returns 0, or -errno. */
static int finish_apart(bool usable)
{
	int error = 0;

	if (apart_count)
		pthread_join(loaded_apart[apart_count - 1].thread, NULL);
	for (int i = 0; i < apart_count; i++) {
		struct apart *apart = &loaded_apart[i];

		if (apart->fd < 0) {
			error = error ? error : apart->fd;
			add_to_log(apart->log ? apart->log : "");
		} else {
			if (usable && dup3(apart->fd, bpf_program__fd(apart->program), O_CLOEXEC) < 0)
				error = -errno;
			close(apart->fd);
		}
		free(apart->instructions);
		free(apart->log);
	}
	apart_count = 0;
	return error;
}

int kiln_load_object(struct bpf_object *object, int *probes)
{
	int result = bpf_object__load(object);

	*probes = finish_apart(!result);
	return result;
}

static void prepare(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, options, .prog_prepare_load_fn = prepare_probe);

	libbpf_set_print(hear);
	libbpf_register_prog_handler("uprobe", BPF_PROG_TYPE_KPROBE, 0, &options);
	libbpf_register_prog_handler("uretprobe", BPF_PROG_TYPE_KPROBE, 0, &options);
	// Makes free() return blocks as large as the kernel's types to the kernel, instead of keeping them for each thread that loads.
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

void kiln_libbpf_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare);
}
