/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which of the objects of requests.bpf.c is compiled: -DCLIENT_SIDE, -DTRACING, or neither. */
#ifndef KILN_VARIANT_H
#define KILN_VARIANT_H

#ifndef CLIENT_SIDE
#define CLIENT_SIDE 0
#endif
#ifndef TRACING
#define TRACING 0
#endif

#endif
