/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What an instruction's bytes say of an address (x86-64). Part of unwind.bpf.h. Global functions: verified once. */
#ifndef KILN_CODE_BYTES_BPF_H
#define KILN_CODE_BYTES_BPF_H

#include "common/bpf.h"
#include "stacks/user_memory.bpf.h"

/* Whether a call ends at an address, so that a return may lead there; what can't be read may. The encodings of CALL: e8 with 4 bytes, ff /2 with a
 * register (2 bytes) or memory (2 to 7). Prefixes come before them. A word from the stack that is none of those was left there by
 * something else. */
#define FOLLOWS_NO_CALL 0
#define FOLLOWS_CALL 1
#define CODE_UNREADABLE 2

/* Of the 8 bytes before an address. */
static __always_inline bool ends_in_call(__u64 code)
{
	/* The last byte before the address is the highest; `last(n)` is the nth from the end. */
#define last(n) ((__u8)(code >> (64 - 8 * (n))))
#define modrm(n, mode) ((last(n) & 0xf8) == ((mode) << 6 | 2 << 3))
#define needs_sib(n) ((last(n) & 7) == 4)
	if (last(5) == 0xe8)
		return true;
	if (last(2) == 0xff && (modrm(1, 3) || (modrm(1, 0) && !needs_sib(1) && (last(1) & 7) != 5)))
		return true;
	if (last(3) == 0xff && ((modrm(2, 0) && needs_sib(2)) || (modrm(2, 1) && !needs_sib(2))))
		return true;
	if (last(4) == 0xff && modrm(3, 1) && needs_sib(3))
		return true;
	if (last(6) == 0xff && ((modrm(5, 2) && !needs_sib(5)) || last(5) == 0x15))
		return true;
	return last(7) == 0xff && needs_sib(6) && (modrm(6, 2) || (modrm(6, 0) && (last(5) & 7) == 5));
#undef last
#undef modrm
#undef needs_sib
}

__noinline int follows_call(struct unwinding *u, __u64 address)
{
	__u64 code = 0;

	if (!u || read_user(u, &code, sizeof code, address - sizeof code))
		return CODE_UNREADABLE;
	return ends_in_call(code) ? FOLLOWS_CALL : FOLLOWS_NO_CALL;
}

/* mov $15, %rax or %eax, and syscall: where signal handlers return to. C libraries without call frame information have it, too. */
__noinline int is_signal_return(struct unwinding *u, __u64 address)
{
	__u8 code[16] = {};

	if (!u || read_user(u, code, 9, address))
		return 0;
	if (code[0] == 0xb8)
		return code[1] == 15 && !code[2] && !code[3] && !code[4] && code[5] == 0x0f && code[6] == 0x05;
	return code[0] == 0x48 && code[1] == 0xc7 && code[2] == 0xc0 && code[3] == 15 && !code[4] && !code[5] && !code[6] &&
		code[7] == 0x0f && code[8] == 0x05;
}

#endif
