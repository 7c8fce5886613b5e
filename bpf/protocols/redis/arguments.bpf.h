/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Commands whose arguments make them another thing: CLIENT REPLY, XREAD BLOCK, HELLO, CLUSTER SYNCSLOTS. Each variant has a row of its own. */
#ifndef KILN_REDIS_ARGUMENTS_BPF_H
#define KILN_REDIS_ARGUMENTS_BPF_H

#include "common/bpf.h"
#include "include/kiln_redis.h"
#include "protocols/redis/resp.bpf.h"
#include "requests/rows.bpf.h"

static __always_inline bool is_special(const struct request_reader *r, __u32 command)
{
	return r->counting && row_class(command) >= KILN_CLASS_LOOK_AT_CLIENT;
}

#define XREAD_ARGUMENTS_MAX 8 /* GROUP group consumer COUNT n BLOCK: what stands before STREAMS */

/* The first 8 bytes of the bulk at `offset`, in upper case, and where the next one starts; 0: it is cut. */
__noinline __u64 argument_at(const struct request_reader *r, __u32 offset, __u32 *next)
{
	__u64 number, word;
	__u32 header;

	if (!r || !next)
		return 0;
	/* The read may touch the slack behind the window: a header found there ends behind the window too. */
	if (offset >= r->window_length)
		return 0;
	header = short_header(&r->bytes[in_window(offset)], 8, &number);
	if (!header || offset + header + number > r->window_length)
		return 0;
	*next = offset + header + (__u32)number + 2;
	word = word_at(&r->bytes[in_window(offset + header)]);
	return upper_case(first_bytes(word, number < 8 ? (__u32)number : 8));
}

#define WORD2(a, b) ((__u64)(a) | (__u64)(b) << 8)
#define WORD4(a, b, c, d) (WORD2(a, b) | WORD2(c, d) << 16)
#define WORD_ON WORD2('O', 'N')
#define WORD_OFF (WORD2('O', 'F') | (__u64)'F' << 16)
#define WORD_SKIP WORD4('S', 'K', 'I', 'P')
#define WORD_REPLY (WORD4('R', 'E', 'P', 'L') | (__u64)'Y' << 32)
#define WORD_BLOCK (WORD4('B', 'L', 'O', 'C') | (__u64)'K' << 32)
#define WORD_SYNCSLOT (WORD4('S', 'Y', 'N', 'C') | (__u64)WORD4('S', 'L', 'O', 'T') << 32) /* the first 8 letters of SYNCSLOTS */
#define WORD_STREAMS (WORD4('S', 'T', 'R', 'E') | WORD2('A', 'M') << 32 | (__u64)'S' << 48)

static __always_inline __u32 class_by_arguments(const struct request_reader *r, __u32 class, __u32 offset)
{
	__u32 next = 0, i;
	__u64 word = argument_at(r, offset, &next);

	if (class == KILN_CLASS_LOOK_AT_HELLO)
		return word == '3' ? KILN_CLASS_HELLO_3 : word == '2' ? KILN_CLASS_HELLO_2 : KILN_CLASS_ORDINARY;
	if (class == KILN_CLASS_LOOK_AT_CLUSTER)
		return word == WORD_SYNCSLOT ? KILN_CLASS_STREAMING : KILN_CLASS_ORDINARY;
	if (class == KILN_CLASS_LOOK_AT_CLIENT) {
		if (word && word != WORD_REPLY)
			return KILN_CLASS_ORDINARY;
		word = word ? argument_at(r, next, &next) : 0;
		switch (word) {
		case WORD_ON:
			return KILN_CLASS_REPLY_ON;
		case WORD_OFF:
			return KILN_CLASS_REPLY_OFF;
		case WORD_SKIP:
			return KILN_CLASS_REPLY_SKIP;
		}
		return KILN_CLASS_STREAMING; /* cut: whether replies follow is not known */
	}
	for (i = 0; i < XREAD_ARGUMENTS_MAX; i++) {
		if (!word)
			return KILN_CLASS_UNTIMED;
		if (word == WORD_BLOCK)
			return KILN_CLASS_BLOCKING;
		if (word == WORD_STREAMS)
			return KILN_CLASS_ORDINARY;
		word = argument_at(r, next, &next);
	}
	return KILN_CLASS_UNTIMED;
}

/* Looked at again for each such request: they are rare. */
__noinline __u32 resp_variant(struct request_reader *r, __u32 command, __u32 offset)
{
	struct kiln_command_key key __attribute__((aligned(8))) = {}; /* written by words */
	__u64 *words = (__u64 *)key.name;

	if (!r)
		return 0;
	key.variant = class_by_arguments(r, row_class(command), offset);
	if (key.variant == KILN_CLASS_ORDINARY || r->last.command != command)
		return command;
	words[0] = r->last.words[0];
	words[1] = r->last.words[1];
	words[2] = r->last.words[2];
	key.process = r->process;
	return command_row(&key);
}

static __always_inline __u32 command_variant(struct request_reader *r, __u32 command, __u32 offset)
{
	return resp_variant(r, command, offset);
}

#endif
