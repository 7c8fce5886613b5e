/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which bytes of RESP a trace may show, and which unsolicited replies it emits. A protocol offers for traces:
 *
 *   words_end()             where the first words of a request end, for commands with secret arguments
 *   shown_of_response()     how many bytes of a response show no value
 *   is_message()            the response in a record is a message to a subscriber */
#ifndef KILN_REDIS_SHOWN_BPF_H
#define KILN_REDIS_SHOWN_BPF_H

#include "common/bpf.h"
#include "include/kiln_trace.h"
#include "protocols/redis/scanner.bpf.h"

#define WORDS_MAX 8 /* that are looked for in a request */
#define WORD7(a, b, c, d, e, f, g) \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | (__u64)(g) << 48)

/* Where the first `words` words of a request end that has `kept` bytes here; 0: it is inline, or its framing isn't plain. */
__noinline __u32 words_end(const struct kiln_trace_record *record, __u32 kept, __u32 words)
{
	__u32 offset, next, i;
	__u64 number;

	if (!record || record->bytes[0] != '*')
		return 0;
	offset = short_header(record->bytes, 8, &number);
	if (!offset || offset > kept)
		return 0;
	for (i = 0; i < WORDS_MAX; i++) {
		const __u8 *b;

		barrier_var(offset);
		offset &= KILN_TRACE_REQUEST_BYTES - 1;
		b = &record->bytes[offset];
		if (i >= words || *b != '$')
			break;
		next = short_header(b, 8, &number);
		if (!next)
			break;
		next += offset + (__u32)number + 2;
		if (next > kept || next >= KILN_TRACE_REQUEST_BYTES)
			break;
		offset = next;
	}
	return offset;
}

/* Of a reply of which `kept` bytes are here only the type, a length or count behind it, and an error's first word may be shown: how many bytes. */
static __always_inline __u32 shown_of_response(const __u8 *b, __u32 kept)
{
	__u32 i;

	switch (b[0]) {
	case '+':
	case ':':
	case ',':
	case '(':
	case '#':
		return 1;
	}
	for (i = 0; i < KILN_ERROR_WORD_MAX; i++) {
		if (i >= kept || b[i] <= ' ')
			break;
	}
	return i < kept ? i : kept;
}

/* message, pmessage and smessage have 3 or 4 elements, as have the confirmations of [ps](un)subscribe. */
__noinline int is_message(const struct kiln_trace_record *record)
{
	const __u8 *b;
	__u64 length = 0, word;
	__u32 at;

	if (!record)
		return false;
	b = record->bytes;
	if (b[0] != '*' || (b[1] != '3' && b[1] != '4') || b[2] != '\r' || b[4] != '$')
		return false;
	at = short_header(b + 4, 8, &length);
	if (!at || length < 7 || length > 12)
		return false;
	at += 4 + length - 7;
	if (at + 7 > record->reply_captured)
		return false;
	barrier_var(at);
	word = *(const __u64 *)(b + (at & 31)) & (1ULL << 56) - 1;
	return word == WORD7('m', 'e', 's', 's', 'a', 'g', 'e') || word == WORD7('b', 's', 'c', 'r', 'i', 'b', 'e');
}

#endif
