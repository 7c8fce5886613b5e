/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of a trace: one for each request that passes the filters. */
#ifndef KILN_TRACE_H
#define KILN_TRACE_H

#include "kiln_requests.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_TRACE_REQUEST_BYTES 512    /* of a request at most, its framing included; a power of two */
#define KILN_TRACE_REPLY_BYTES 256      /* of a reply or push, likewise; a power of two */
#define KILN_TRACE_REPLIES_BYTES 2048   /* of the replies to coalesced requests */
#define KILN_TRACE_RING_BYTES (8 << 20) /* records on their way to user space */
#define KILN_TRACE_RECEIVE_BYTES 1024   /* of a receive at most, to capture it as a whole; a power of two */
#define KILN_TRACE_SLOTS 8192           /* requests, or receives, kept until their replies come: 10 MiB; a power of two */
#define KILN_TRACE_CLIENTS 32           /* addresses that a trace can be limited to */
#define KILN_TRACE_COMMANDS 64          /* names that it can be limited to */
#define KILN_TRACE_NO_FD 0xffffffffU    /* hook fentry doesn't see the descriptor */

struct kiln_trace_client {
	__u8 address[16]; /* as in struct kiln_client_key */
	__u32 family;     /* enum kiln_address_family */
	__u16 port;       /* 0: any */
	__u16 reserved;
};

/* What user space chooses before loading. */
struct kiln_trace_options {
	__u64 slower_than_ns; /* only requests whose service took as long; 0: all */
	__u32 errors_only;
	__u32 without_arguments; /* no argument and no value of a reply is copied */
	__u32 request_bytes;     /* at most KILN_TRACE_REQUEST_BYTES */
	__u32 by_command;        /* only names that `trace_names` holds with `traced` set */
	__u32 clients;           /* entries of `client`; 0: all clients */
	__u32 reserved;
	struct kiln_trace_client client[KILN_TRACE_CLIENTS];
};

/* Value of the map `trace_names`, whose key is struct kiln_command_name, and of `trace_rows`, whose key is the row. */
struct kiln_trace_name {
	__u8 traced; /* asked for by name */
	__u8 words;  /* how many words of a request may leave the kernel; 0: all */
};

/* enum kiln_trace_flag, in `flags` of a record. */
enum kiln_trace_flag {
	KILN_TRACE_ANSWERED = 1 << 0, /* the reply is known; otherwise none is expected, or it can't be matched */
	KILN_TRACE_ERROR = 1 << 1,
	KILN_TRACE_PUSH = 1 << 2, /* no request: something that the server pushed */
	KILN_TRACE_TLS = 1 << 3,
	KILN_TRACE_SECRET = 1 << 4,         /* words were left out */
	KILN_TRACE_REQUEST_LOST = 1 << 5,   /* the request's bytes were not kept */
	KILN_TRACE_REPLY_LOST = 1 << 6,     /* the reply's first bytes were not kept */
	KILN_TRACE_REPLY_WITHHELD = 1 << 8, /* only its type, length or count, and an error's first word left the kernel */
	KILN_TRACE_BLOCKING = 1 << 7,       /* its latency is a wait that the client asked for */
	KILN_TRACE_COALESCED = 1 << 9,      /* `count` requests of one receive, whose replies came in one send */
};

/* Times are CLOCK_MONOTONIC; 0: not known.
 *
 * Requests of one row that follow each other in a pipeline are coalesced, because a record for each costs more than all else: their
 * bytes lie one behind the other, as they came, and so do their replies'. User space finds where each of them ends. */
struct kiln_trace_record {
	__u64 received_ns; /* the read that brought its last byte returned */
	__u64 arrived_ns;
	__u64 executed_ns;
	__u64 sent_ns;       /* the send that took its reply's last byte returned */
	__u64 request_bytes; /* framing included */
	__u64 reply_bytes;
	struct kiln_client_key client;
	__u16 row;
	__u16 count;    /* of requests: 1 unless coalesced */
	__u32 sequence; /* of the first request among those counted on the connection, from 1; modulo 2^32 */
	__u32 tid;      /* the thread that sent the reply, or without one read the request */
	__u32 fd;
	__u16 client_port;
	__u16 flags;
	__u16 request_captured; /* bytes of the request at `bytes`; coalesced, maybe of more requests than `count` */
	__u16 reply_captured;   /* and of the reply, behind them */
	__u8 bytes[KILN_TRACE_RECEIVE_BYTES + KILN_TRACE_REPLIES_BYTES];
};

#pragma clang diagnostic pop

#endif
