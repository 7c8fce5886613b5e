/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which of the objects of requests.bpf.c is compiled: -DCLIENT_SIDE, -DTRACING, or neither; and of which protocol: -DPROTOCOL=folder.
 *
 * A protocol is a folder with three headers: what it keeps of a connection (state.bpf.h), how it reads requests and responses (scanner.bpf.h),
 * and what it expects (protocol.bpf.h). With a trace a fourth one: which bytes may be shown (shown.bpf.h). protocols/redis/ says of each
 * function what it is for; Tests/ToyProtocol/ is the shortest one. */
#ifndef KILN_VARIANT_H
#define KILN_VARIANT_H

#ifndef CLIENT_SIDE
#define CLIENT_SIDE 0
#endif
#ifndef TRACING
#define TRACING 0
#endif
/* clang-format takes paths for divisions. */
/* clang-format off */
#ifndef PROTOCOL
#define PROTOCOL protocols/redis
#endif

/* #include PROTOCOL_HEADER(state.bpf.h) */
#define PROTOCOL_QUOTED(path) #path
#define PROTOCOL_PATH(path) PROTOCOL_QUOTED(path)
#define PROTOCOL_HEADER(file) PROTOCOL_PATH(PROTOCOL/file)
/* clang-format on */

#endif
