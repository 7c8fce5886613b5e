/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the RESP scanner keeps: struct resp_stream for a connection, struct resp_reader for a CPU; names looked up as rows,
 * and the commands that a receive completed, in their order. resp.bpf.h follows the bytes. */
#ifndef KILN_RESP_READER_BPF_H
#define KILN_RESP_READER_BPF_H

#include "common/bpf.h"
#include "include/kiln_redis.h"

#define RESP_WINDOW 4096                  /* bytes read from user memory at once; a power of two */
#define RESP_SLACK 128                    /* loads near the window's end stay inside the buffer */
#define RESP_CARRY 128                    /* an incomplete header with its name is shorter; a power of two */
#define RESP_STEPS_MAX 65536
#define RESP_REPEATS_AT_ONCE 15           /* requests of one shape that one step passes over */
#define RESP_NAME_CACHE 256               /* a power of two */
#define RESP_SHORT_NAME 24                /* bytes: names up to here are compared as three words */
#define RESP_RUNS_MAX 1024                /* runs of equal commands in one receive; a power of two */
#define RESP_BULK_MAX (512ULL << 20)      /* proto-max-bulk-len as shipped */
#define RESP_ARGUMENTS_MAX (1ULL << 31)

enum resp_state {
	RESP_START,                       /* at a request boundary, unless a unit is carried */
	RESP_NAME,                        /* the command's name is next */
	RESP_ARGUMENT,                    /* another argument is next, or `skip` bytes of the current one */
	RESP_INLINE_NAME,
	RESP_INLINE_REST,
	RESP_FAILED,                      /* not RESP from here on */
	RESP_LOST,                        /* could not be read or followed, which has been counted */
};

/* What a connection's stream is in the middle of. */
struct resp_stream {
	__u64 skip;                       /* bytes of the current argument, its CR LF included, still to come */
	__u32 arguments;                  /* arguments not yet complete, the current one included */
	__u32 command;                    /* row of the command being received */
	__u8 state;
	__u8 carry_length;
	__u8 inline_length;
	__u8 reserved[5];
	__u64 begun;                      /* bytes of the current request that came in earlier receives */
	__u8 inline_name[KILN_COMMAND_NAME_MAX];
	__u8 carry[RESP_CARRY];           /* the incomplete unit that ended the last receive */
};

struct resp_cached_name {
	__u64 words[3];
	__u32 process;
	__u32 command;
};

/* Equal commands, one behind the other. */
struct resp_run {
	__u16 command;
	__u16 count;
	__u32 largest;                    /* bytes of its largest request */
	__u32 begun;                      /* where its first request begins, as in struct resp_reader */
};

struct resp_reader {
	__u64 address;                    /* user address of offset 0 (up to RESP_CARRY bytes below the buffer) */
	__u32 position, end;              /* offsets: [0, carried) come from the carry, the rest from the receive */
	__u32 window_start, window_length;
	__u32 process;
	__u32 counting;                   /* 0: the stream is only probed, names are not looked up */
	__u32 run_command, run_count;     /* the run that goes on */
	__u32 runs_noted;                 /* runs before it, in `runs` */
	__u32 unlisted;                   /* commands of this receive that found no room there */
	__u32 run_largest;                /* bytes of the largest request of the run */
	__u32 commands_noted;             /* in those runs, and in the unlisted */
	__u32 begun;                      /* where the current request begins; modulo 2^32 before offset 0 */
	__u32 carried;                    /* bytes from the carry */
	__u32 traced;                     /* a trace asks for this connection's requests */
	__u32 run_begun;                  /* where the run's first request begins */
	__u32 reserved;
	struct resp_stream stream;        /* of a receive that begins at a boundary */
	struct resp_cached_name last;     /* the last short name on this CPU */
	__u8 bytes[RESP_WINDOW + RESP_SLACK];
	struct resp_cached_name names[RESP_NAME_CACHE];
	struct resp_run runs[RESP_RUNS_MAX];
};

/* To be provided: the row of a command, made if it is new; whether its arguments make a difference, and then the row of
 * that variant, where the arguments start at an offset of the window; what to do with commands that found no room in
 * `runs`; whether a command has to be a run by itself; and the counter of a loss. */
static __u32 command_row(const struct kiln_command_key *key);
static bool is_special(const struct resp_reader *r, __u32 command);
static __u32 command_variant(struct resp_reader *r, __u32 command, __u32 offset);
static bool requests_apart(const struct resp_reader *r, __u32 command);
static void count_unlisted(__u32 command, __u32 count);
int lose(__u32 loss, __u64 amount);

/* An offset into the window that the verifier can see is bounded; the barrier keeps the mask from being folded away. */
static __always_inline __u32 in_window(__u32 offset)
{
	barrier_var(offset);
	return offset & (RESP_WINDOW - 1);
}

/* Eight bytes, wherever they lie. By way of a pointer of their own: from an array of bytes itself clang takes them one by one. */
static __always_inline __u64 word_at(const __u8 *bytes)
{
	return *(const __u64 *)bytes;
}

static __always_inline void copy_carry(__u8 *to, const __u8 *from)
{
	__u64 *words = (__u64 *)to;

	for (__u32 i = 0; i < RESP_CARRY / 8; i++)
		words[i] = word_at(from + i * 8);
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
__noinline __u32 resp_lookup_short(struct resp_reader *r, __u64 a, __u64 b, __u64 c)
{
	struct kiln_command_key key __attribute__((aligned(8))) = {};    /* written by words */
	struct resp_cached_name *cached;
	__u64 hash;

	if (!r)
		return 0;
	hash = ((a ^ (b * 31) ^ (c * 131) ^ r->process) * 0x9E3779B97F4A7C15ULL) >> 56;
	barrier_var(hash);
	cached = &r->names[hash & (RESP_NAME_CACHE - 1)];
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

/* The row of a name of up to RESP_SHORT_NAME bytes, given in upper case. */
static __always_inline __u32 short_name(struct resp_reader *r, __u64 a, __u64 b, __u64 c)
{
	if (!r->counting)
		return 0;
	if (r->last.command >= KILN_MAX_TARGETS && r->last.words[0] == a && r->last.words[1] == b && r->last.words[2] == c &&
	    r->last.process == r->process)
		return r->last.command;
	return resp_lookup_short(r, a, b, c);
}

/* The row of a name of RESP_SHORT_NAME to KILN_COMMAND_NAME_MAX bytes at `name`, which has that much room. */
__noinline __u32 resp_long_name(struct resp_reader *r, const struct kiln_command_name *name, __u32 length)
{
	struct kiln_command_key key __attribute__((aligned(8))) = {};    /* written by words */
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

static __always_inline __u32 name_at(struct resp_reader *r, const __u8 *name, __u32 length)
{
	const __u64 *words = (const __u64 *)name;
	__u64 b = 0, c = 0;

	if (length > RESP_SHORT_NAME)
		return resp_long_name(r, (const struct kiln_command_name *)name, length);
	if (length > 8)
		b = upper_case(first_bytes(words[1], length - 8));
	if (length > 16)
		c = upper_case(first_bytes(words[2], length - 16));
	return short_name(r, upper_case(first_bytes(words[0], length)), b, c);
}

static __always_inline __u32 name_too_long(struct resp_reader *r)
{
	if (r->counting)
		lose(KILN_LOST_COMMAND_NAMES_TOO_LONG, 1);
	return r->process & (KILN_MAX_TARGETS - 1);
}

/* ---- a command is complete --------------------------------------------------------------------------------- */

/* Note the run that ended. */
__noinline int resp_note_run(struct resp_reader *r)
{
	struct resp_run *run;
	__u32 at;

	if (!r)
		return 0;
	r->commands_noted += r->run_count;
	at = r->runs_noted;
	if (at >= RESP_RUNS_MAX) {
		count_unlisted(r->run_command, r->run_count);
		r->unlisted += r->run_count;
		return 0;
	}
	r->runs_noted = at + 1;
	barrier_var(at);
	run = &r->runs[at & (RESP_RUNS_MAX - 1)];
	run->command = r->run_command;
	run->count = r->run_count;
	run->largest = r->run_largest;
	run->begun = r->run_begun;
	return 0;
}

/* The request that ends at the position is complete. */
static __always_inline void complete(struct resp_reader *r, __u32 command)
{
	__u32 begun = r->begun, bytes = r->position - begun;
	bool apart = requests_apart(r, command);

	r->begun = r->position;
	if (command != r->run_command || r->run_count == 0xffff || apart) {
		if (r->run_count)
			resp_note_run(r);
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
