/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a protocol's scanner reads requests with, and what it reports: struct request_reader, one for each CPU. Any protocol's requests are
 * runs of equal commands, in their order; a scanner calls complete_request() at the end of each request.
 *
 * A command's name becomes its row once for each run of equal names: the scanner has to know the row, because its class may decide how the
 * request's arguments are read.
 *
 * Plain C, so that a scanner also compiles for user space, where it is fuzzed. */
#ifndef KILN_REQUEST_READER_BPF_H
#define KILN_REQUEST_READER_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"
#include "requests/variant.h"
#include PROTOCOL_HEADER(state.bpf.h)

#define WINDOW_BYTES 4096 /* bytes read from user memory at once; a power of two */
#define WINDOW_SLACK 128  /* loads near the window's end stay inside the buffer */
#define NAME_CACHE 256    /* a power of two */
#define SHORT_NAME 24     /* bytes: names up to here are compared as three words */
#define RUNS_MAX 1024     /* runs of equal commands in one receive; a power of two */

/* What read_run() found. */
enum read_outcome {
	READ_UNREADABLE,
	READ_ONE_RUN, /* one small request, or a few alike, and nothing else */
	READ_MORE,    /* read_requests() goes on */
};

struct cached_name {
	__u64 words[3];
	__u32 process;
	__u32 command;
};

/* Equal commands, one behind the other. */
struct request_run {
	__u16 command;
	__u16 count;
	__u32 largest; /* bytes of its largest request */
	__u32 begun;   /* where its first request begins, as in struct request_reader */
};

struct request_reader {
	__u64 address;       /* user address of offset 0 (up to REQUEST_CARRY bytes below the buffer) */
	__u32 position, end; /* offsets: [0, carried) come from the carry, the rest from the receive */
	__u32 window_start, window_length;
	__u32 process;
	__u32 counting;               /* 0: the stream is only probed, names are not looked up */
	__u32 run_command, run_count; /* the run that goes on */
	__u32 runs_noted;             /* runs before it, in `runs` */
	__u32 unlisted;               /* commands of this receive that found no room there */
	__u32 run_largest;            /* bytes of the largest request of the run */
	__u32 commands_noted;         /* in those runs, and in the unlisted */
	__u32 begun;                  /* where the current request begins; modulo 2^32 before offset 0 */
	__u32 carried;                /* bytes from the carry */
	__u32 traced;                 /* a trace asks for this connection's requests */
	__u32 run_begun;              /* where the run's first request begins */
	__u32 reserved;
	struct request_stream stream; /* of a receive that begins at a boundary */
	struct cached_name last;      /* the last short name on this CPU */
	__u8 bytes[WINDOW_BYTES + WINDOW_SLACK];
	struct cached_name names[NAME_CACHE];
	struct request_run runs[RUNS_MAX];
};

/* To be provided: the row of a command, made if it is new; what to do with commands that found no room in `runs`; whether a command has to be
 * a run by itself; and the counter of a loss. */
static __u32 command_row(const struct kiln_command_key *key);
static bool requests_are_single(const struct request_reader *r, __u32 command);
static void count_unlisted(__u32 command, __u32 count);
int lose(__u32 loss, __u64 amount);

/* An offset into the window that the verifier can see is bounded; the barrier keeps the mask from being folded away. */
static __always_inline __u32 in_window(__u32 offset)
{
	barrier_var(offset);
	return offset & (WINDOW_BYTES - 1);
}

/* Eight bytes, wherever they lie. By way of a pointer of their own: from an array of bytes itself clang takes them one by one. */
static __always_inline __u64 word_at(const __u8 *bytes)
{
	return *(const __u64 *)bytes;
}

/* ---- the window ---------------------------------------------------------------------------------------------- */

#define SHORT_WINDOW 48 /* bytes */

/* The kernel asks least of a read to the task's own stack (20 to 30 ns less), where since 6.13 only functions with less than 64 bytes
 * of it are. Hence global, and so small. */
__noinline int read_short_window(struct request_reader *r, __u64 address, __u32 length)
{
	__u64 words[SHORT_WINDOW / 8] = {};

	if (!r || length > SHORT_WINDOW || bpf_probe_read_user(words, length, (void *)address))
		return -1;
	__builtin_memcpy(r->bytes, words, sizeof words);
	return 0;
}

static __always_inline int read_window(struct request_reader *r)
{
	__u64 address = r->address + r->position;
	__u32 length = r->end - r->position;
	long failed;

	if (length > WINDOW_BYTES)
		length = WINDOW_BYTES;
	r->window_start = r->position;
	r->window_length = length;
	barrier_var(length);
	if (length <= SHORT_WINDOW)
		failed = read_short_window(r, address, length);
	else
		failed = length <= WINDOW_BYTES ? bpf_probe_read_user(r->bytes, length, (void *)address) : -1;
	if (failed) {
		lose(KILN_LOST_UNREADABLE_BUFFERS, 1);
		return -1;
	}
	return 0;
}

__noinline int read_next_window(struct request_reader *r)
{
	return r ? read_window(r) : -1;
}

/* The reader knows no command yet. */
static __always_inline void start_commands(struct request_reader *r)
{
	r->run_count = 0;
	r->run_command = 0;
	r->run_largest = 0;
	r->commands_noted = 0;
	r->runs_noted = 0;
	r->unlisted = 0;
}

static __always_inline void start_piece(struct request_reader *r, __u64 buffer, __u32 length, __u32 carried)
{
	r->begun = 0;
	r->carried = carried;
	r->address = buffer - carried;
	r->position = 0;
	r->end = length + carried;
	r->window_start = 0;
	r->window_length = 0;
}

static __always_inline void start_receive(struct request_reader *r, __u64 buffer, __u32 length, __u32 carried)
{
	start_commands(r);
	start_piece(r, buffer, length, carried);
}

/* ---- names ------------------------------------------------------------------------------------------------- */

/* ASCII a..z to A..Z in all eight bytes at once; other bytes stay. */
static __always_inline __u64 upper_case(__u64 word)
{
	__u64 low = word & 0x7f7f7f7f7f7f7f7fULL;
	__u64 from_a = low + 0x1f1f1f1f1f1f1f1fULL;
	__u64 past_z = low + 0x0505050505050505ULL;

	return word ^ (((from_a & ~past_z & ~word) & 0x8080808080808080ULL) >> 2);
}

static __always_inline __u64 first_bytes(__u64 word, __u32 count)
{
	return count >= 8 ? word : word & ((1ULL << (count * 8)) - 1);
}

/* Global functions (not static) are verified once, whatever the caller knows. */
__noinline __u32 lookup_short_name(struct request_reader *r, __u64 a, __u64 b, __u64 c)
{
	struct kiln_command_key key __attribute__((aligned(8))) = {}; /* written by words */
	struct cached_name *cached;
	__u64 hash;

	if (!r)
		return 0;
	hash = ((a ^ (b * 31) ^ (c * 131) ^ r->process) * 0x9E3779B97F4A7C15ULL) >> 56;
	barrier_var(hash);
	cached = &r->names[hash & (NAME_CACHE - 1)];
	if (cached->command < KILN_MAX_TARGETS || cached->words[0] != a || cached->words[1] != b || cached->words[2] != c ||
		cached->process != r->process) {
		__u64 *words = (__u64 *)key.name;

		words[0] = a;
		words[1] = b;
		words[2] = c;
		key.process = r->process;
		cached->words[0] = a;
		cached->words[1] = b;
		cached->words[2] = c;
		cached->process = r->process;
		cached->command = command_row(&key);
		/* A row of `other` doesn't count as cached: each such command is looked up again and counted as lost. */
	}
	r->last = *cached;
	return cached->command;
}

/* The row of a name of up to SHORT_NAME bytes, given in upper case. */
static __always_inline __u32 short_name(struct request_reader *r, __u64 a, __u64 b, __u64 c)
{
	if (!r->counting)
		return 0;
	if (r->last.command >= KILN_MAX_TARGETS && r->last.words[0] == a && r->last.words[1] == b && r->last.words[2] == c &&
		r->last.process == r->process)
		return r->last.command;
	return lookup_short_name(r, a, b, c);
}

/* The row of a name of SHORT_NAME to KILN_COMMAND_NAME_MAX bytes at `name`, which has that much room. */
__noinline __u32 long_name(struct request_reader *r, const struct kiln_command_name *name, __u32 length)
{
	struct kiln_command_key key __attribute__((aligned(8))) = {}; /* written by words */
	__u64 *words = (__u64 *)key.name;
	__u32 i;

	if (!r || !name || !r->counting)
		return 0;
#pragma unroll
	for (i = 0; i < KILN_COMMAND_NAME_MAX / 8; i++) {
		if (i * 8 < length)
			words[i] = upper_case(first_bytes(word_at(name->bytes + i * 8), length - i * 8));
	}
	key.process = r->process;
	return command_row(&key);
}

static __always_inline __u32 name_at(struct request_reader *r, const __u8 *name, __u32 length)
{
	const __u64 *words = (const __u64 *)name;
	__u64 b = 0, c = 0;

	if (length > SHORT_NAME)
		return long_name(r, (const struct kiln_command_name *)name, length);
	if (length > 8)
		b = upper_case(first_bytes(words[1], length - 8));
	if (length > 16)
		c = upper_case(first_bytes(words[2], length - 16));
	return short_name(r, upper_case(first_bytes(words[0], length)), b, c);
}

static __always_inline __u32 name_too_long(struct request_reader *r)
{
	if (r->counting)
		lose(KILN_LOST_COMMAND_NAMES_TOO_LONG, 1);
	return r->process & (KILN_MAX_TARGETS - 1);
}

/* ---- a command is complete --------------------------------------------------------------------------------- */

/* Note the run that ended. */
__noinline int note_run(struct request_reader *r)
{
	struct request_run *run;
	__u32 at;

	if (!r)
		return 0;
	r->commands_noted += r->run_count;
	at = r->runs_noted;
	if (at >= RUNS_MAX) {
		count_unlisted(r->run_command, r->run_count);
		r->unlisted += r->run_count;
		return 0;
	}
	r->runs_noted = at + 1;
	barrier_var(at);
	run = &r->runs[at & (RUNS_MAX - 1)];
	run->command = r->run_command;
	run->count = r->run_count;
	run->largest = r->run_largest;
	run->begun = r->run_begun;
	return 0;
}

/* The request that ends at the position is complete. */
static __always_inline void complete_request(struct request_reader *r, __u32 command)
{
	__u32 begun = r->begun, bytes = r->position - begun;
	bool apart = requests_are_single(r, command);

	r->begun = r->position;
	if (command != r->run_command || r->run_count == 0xffff || apart) {
		if (r->run_count)
			note_run(r);
		r->run_command = command;
		r->run_count = 0;
		r->run_largest = 0;
		r->run_begun = begun;
	}
	if (bytes > r->run_largest)
		r->run_largest = bytes;
	r->run_count++;
}

#endif
