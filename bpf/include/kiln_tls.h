/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Cookies of the programs of hook_tls.bpf.h: each program is attached to several functions, and the cookie says which one runs. */
#ifndef KILN_TLS_H
#define KILN_TLS_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

/* The cookie of an attachment: a function of OpenSSL. */
enum kiln_tls_function {
	KILN_TLS_NONE,
	KILN_TLS_READ,    /* SSL_read(ssl, buffer, length): bytes, or less than 1 */
	KILN_TLS_READ_EX, /* SSL_read_ex(ssl, buffer, length, *bytes): 1, or 0 */
	KILN_TLS_WRITE,
	KILN_TLS_WRITE_EX,
	KILN_TLS_HANDSHAKE, /* SSL_do_handshake(ssl), which SSL_accept and SSL_connect call */
	KILN_TLS_NEW,       /* SSL_new(context): ssl */
	KILN_TLS_CLEAR,     /* SSL_clear(ssl): used again for another connection */
	KILN_TLS_FREE,      /* SSL_free(ssl) */
	KILN_TLS_WRITE_EX2, /* SSL_write_ex2(ssl, buffer, length, flags, *bytes), from OpenSSL 3.3 on: 1, or 0 */
};

/* Read-only for the kernel, filled before loading. */
struct kiln_tls {
	__u32 followed; /* the programs of hook_tls.bpf.h are attached */
	__u32 claims;   /* this kernel lets no program switch off preemption: see take_cpu() */
};

#pragma clang diagnostic pop

#endif
