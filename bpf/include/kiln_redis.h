/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Redis's commands that are not ordinary. */
#ifndef KILN_REDIS_H
#define KILN_REDIS_H

#include "kiln_requests.h"

/* What sets a command apart, beside enum kiln_command_class. */
enum kiln_redis_class {
	KILN_CLASS_MULTI = KILN_CLASS_OF_PROTOCOL, /* what follows is queued */
	KILN_CLASS_EXEC,                           /* and from here on not */
	KILN_CLASS_SUBSCRIBING,                    /* RESP2: messages follow that look like replies; RESP3: answered by pushes */
	KILN_CLASS_STREAMING,                      /* what follows are no replies: MONITOR, replication, slot migration */
	KILN_CLASS_REPLY_ON,
	KILN_CLASS_REPLY_OFF,
	KILN_CLASS_REPLY_SKIP,
	KILN_CLASS_HELLO_3, /* from here on RESP3 */
	KILN_CLASS_HELLO_2, /* and from here on not */
	KILN_CLASS_RESET,   /* as a new connection, but for subscriptions, which unmatch for good */
	/* The arguments decide: */
	KILN_CLASS_LOOK_AT_CLIENT, /* CLIENT REPLY ON, OFF or SKIP */
	KILN_CLASS_LOOK_AT_XREAD,  /* BLOCK */
	KILN_CLASS_LOOK_AT_HELLO,
	KILN_CLASS_LOOK_AT_CLUSTER, /* SYNCSLOTS: a slot migration (valkey 9) */
};

/* clang-format off */
/* Commands that are not ordinary. X(name, class) */
#define KILN_SPECIAL_COMMANDS(X) \
	X("BLPOP", BLOCKING) X("BRPOP", BLOCKING) X("BLMOVE", BLOCKING) X("BRPOPLPUSH", BLOCKING) X("BLMPOP", BLOCKING) \
	X("BZPOPMIN", BLOCKING) X("BZPOPMAX", BLOCKING) X("BZMPOP", BLOCKING) X("WAIT", BLOCKING) X("WAITAOF", BLOCKING) \
	X("SUBSCRIBE", SUBSCRIBING) X("PSUBSCRIBE", SUBSCRIBING) X("SSUBSCRIBE", SUBSCRIBING) \
	X("UNSUBSCRIBE", SUBSCRIBING) X("PUNSUBSCRIBE", SUBSCRIBING) X("SUNSUBSCRIBE", SUBSCRIBING) \
	X("MONITOR", STREAMING) X("SYNC", STREAMING) X("PSYNC", STREAMING) \
	X("CLIENT", LOOK_AT_CLIENT) X("XREAD", LOOK_AT_XREAD) X("XREADGROUP", LOOK_AT_XREAD) X("HELLO", LOOK_AT_HELLO) \
	X("CLUSTER", LOOK_AT_CLUSTER) \
	X("RESET", RESET) X("MULTI", MULTI) X("EXEC", EXEC) X("DISCARD", EXEC)

/* Commands with secret words: X(name, how many words of it may leave the kernel, the name included).
 * Of their replies only the type, a length or count and an error's first word does. */
#define KILN_SECRET_COMMANDS(X) \
	X("AUTH", 1) X("HELLO", 2) X("ACL", 2) X("CONFIG", 3) X("MIGRATE", 3) X("SENTINEL", 3)
/* clang-format on */

#endif
