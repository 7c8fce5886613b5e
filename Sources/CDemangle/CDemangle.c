#define _GNU_SOURCE // pipe2
#include "CDemangle.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// A Swift name of at most this length, whose references can't expand it beyond this size, needs little memory.
#define LONGEST_HARMLESS 512
#define HARMLESS_BYTES (4 << 20)

// Back references let a mangled name of a hundred bytes stand for gigabytes. libiberty has no output limit, so the callback that receives
// its output leaves by longjmp when the room is used up.
struct output {
	char *bytes;
	size_t count, room;
	jmp_buf full;
};

static void append(const char *text, size_t length, void *opaque)
{
	struct output *output = opaque;

	if (length > output->room - output->count)
		longjmp(output->full, 1);
	memcpy(output->bytes + output->count, text, length);
	output->count += length;
}

size_t kiln_demangle_itanium_or_rust(const char *mangled, char *name, size_t room)
{
	struct output output = { .bytes = name, .room = room };

	if (setjmp(output.full))
		return 0;
	// Rust's older names are C++ names with a hash at the end, so Rust is tried first.
	if (rust_demangle_callback(mangled, DMGL_NO_OPTS, append, &output))
		return output.count;
	output.count = 0;
	return cplus_demangle_v3_callback(mangled, DMGL_NO_OPTS, append, &output) ? output.count : 0;
}

size_t kiln_demangle_itanium_signature(const char *mangled, char *name, size_t room)
{
	struct output output = { .bytes = name, .room = room };

	if (setjmp(output.full) || rust_demangle_callback(mangled, DMGL_NO_OPTS, append, &output))
		return 0;
	output.count = 0;
	return cplus_demangle_v3_callback(mangled, DMGL_PARAMS | DMGL_ANSI | DMGL_RET_DROP, append, &output) ? output.count : 0;
}

// From the Swift runtime, which every Swift program contains; no header declares it.
char *swift_demangle(const char *mangled, size_t length, char *buffer, size_t *size, uint32_t flags);

static size_t demangle_swift(const char *mangled, size_t length, char *name, size_t room)
{
	char *text = swift_demangle(mangled, length, NULL, NULL, 0);
	size_t count = text ? strlen(text) : 0;

	// It returns names that it can't demangle unchanged.
	if (count > room || (count == length && !memcmp(text, mangled, length)))
		count = 0;
	if (text)
		memcpy(name, text, count);
	free(text);
	return count;
}

// Whether a name could expand to more than some megabytes. A reference to an earlier part of the name is a run of letters after an A, or a
// number that repeats one; each can at most double the name so far. An A with another meaning counts, too: at worst, an unnecessary child
// process.
static bool may_be_huge(const char *mangled, size_t length)
{
	size_t bound = length, i, next, letters, repeats;

	if (length > LONGEST_HARMLESS)
		return true;
	for (i = 0; i < length; i++) {
		if (mangled[i] != 'A')
			continue;
		letters = 1;
		for (next = i + 1; next < length && islower((unsigned char)mangled[next]); next++)
			letters++;
		repeats = 0;
		for (; next < length && isdigit((unsigned char)mangled[next]); next++)
			repeats = repeats > HARMLESS_BYTES ? repeats : repeats * 10 + (mangled[next] - '0');
		bound *= 1 + letters + repeats;
		if (bound > HARMLESS_BYTES)
			return true;
	}
	return false;
}

// In the child: at most 64 MiB and one second, and no message when it fails.
static void bound_resources(void)
{
	struct rlimit seconds = { 1, 1 }, none = { 0, 0 }, bytes;
	unsigned long pages = 0;
	FILE *sizes = fopen("/proc/self/statm", "re");
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (!sizes || fscanf(sizes, "%lu", &pages) != 1 || nowhere < 0)
		_exit(1);
	bytes.rlim_cur = bytes.rlim_max = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
	if (dup2(nowhere, STDERR_FILENO) < 0 || setrlimit(RLIMIT_AS, &bytes) || setrlimit(RLIMIT_CPU, &seconds) ||
		setrlimit(RLIMIT_CORE, &none))
		_exit(1);
}

size_t kiln_demangle_swift(const char *mangled, size_t length, char *name, size_t room)
{
	size_t count = 0;
	ssize_t received;
	int ends[2], status;
	pid_t child;

	if (!may_be_huge(mangled, length))
		return demangle_swift(mangled, length, name, room);
	// Swift's runtime has no output limit, either, but a process can be limited. This takes about a millisecond.
	if (pipe2(ends, O_CLOEXEC))
		return 0;
	child = fork();
	if (!child) {
		bound_resources();
		count = demangle_swift(mangled, length, name, room);
		_exit(write(ends[1], name, count) != (ssize_t)count);
	}
	close(ends[1]);
	while (child > 0 && (received = read(ends[0], name + count, room - count)) != 0) {
		if (received > 0)
			count += received;
		else if (errno != EINTR)
			break;
	}
	close(ends[0]);
	if (child < 0)
		return 0;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? count : 0;
}
