/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records of requests.bpf.c: commands by process and name, their counts and latencies, and what was lost. */
#ifndef KILN_REQUESTS_H
#define KILN_REQUESTS_H

#include "kiln_histogram.h"
#include "kiln_targets.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_COMMAND_NAME_MAX 64         /* bytes; room for a name renamed to a hex digest */
#define KILN_COMMAND_CAPACITY 512        /* rows at most; fewer where CPUs are many (see command_capacity) */
#define KILN_UNLISTED_SHARE 4            /* one of so many rows is there for names that no server's list of commands has */
#define KILN_ERROR_WORD_MAX 32           /* bytes; a power of two */
#define KILN_ERROR_CAPACITY 1024         /* different errors, by process, command and word */
#define KILN_WAIT_CAPACITY 4096          /* pairs of commands of which one made the other wait */
#define KILN_CLIENT_CAPACITY 1024        /* addresses of clients; those beyond count in their process's `other` */
#define KILN_SERVER_SHIFT 8              /* client's side: a command's `process` has its server's row in `client_stats` above */
#define KILN_SEVERAL_COMMANDS 0xffffffff /* in place of a row: different commands of a receive together */

/* What sets a command apart from one that is answered by one response as soon as it is executed. A protocol has classes of its own behind these. */
enum kiln_command_class {
	KILN_CLASS_ORDINARY,
	KILN_CLASS_BLOCKING, /* its time from read to response is a wait that the client asked for; not where it is deferred */
	KILN_CLASS_UNTIMED,  /* its response means nothing that is known */
	KILN_CLASS_OF_PROTOCOL
};

/* Key of the map `command_ids`; the value is the row (__u32) in `command_stats`.
 * Rows below KILN_MAX_TARGETS are taken: row p counts process p's commands that got no row of their own. */
struct kiln_command_key {
	__u8 name[KILN_COMMAND_NAME_MAX]; /* upper case, padded with NUL */
	__u32 process;                    /* and its server, see KILN_SERVER_SHIFT */
	__u32 variant;                    /* the enum kiln_command_class that its arguments gave it; 0: none */
};

/* Key of the map `listed_commands`: a name in upper case, padded with NUL; the value is its enum kiln_command_class (__u32). */
struct kiln_command_name {
	__u8 bytes[KILN_COMMAND_NAME_MAX];
};

enum kiln_phase {
	KILN_PHASE_SERVICE,      /* read return to the return of the send of the reply's last byte */
	KILN_PHASE_QUEUE,        /* arrival of the first byte to read return */
	KILN_PHASE_EXEC,         /* read return to the next one of the thread, or to where a send begins */
	KILN_PHASE_REPLY,        /* end of exec to the return of the send of the reply's last byte */
	KILN_PHASE_TOTAL,        /* queue and service */
	KILN_PHASE_SEND_BLOCKED, /* return of the reply's first send to that of its last, where it took several */
	KILN_PHASE_COUNT
};

/* One row of `command_stats`, one copy for each possible CPU: sum them. Never cleared while loaded. */
struct kiln_command_stats {
	__u64 calls;             /* requests read by the server */
	__u64 queued;            /* of them, those that a later request executes; the server counts them then, or never */
	__u64 request_bytes_max; /* the largest request */
	__u64 errors;            /* replies that are errors */
	__u64 run_queue_ns;      /* of exec: the thread was ready and not running */
	__u64 reply_bytes_max;   /* the largest reply; of a send that answers several commands only its largest counts */
	/* A histogram for each phase. Each phase's slots together: most of its latencies lie in few of them, and so in few cache lines. */
	struct kiln_latency_sum sums[KILN_PHASE_COUNT];
	__u64 slots[KILN_PHASE_COUNT][KILN_HISTOGRAM_SLOTS + 1];
};

/* Key of the map `errors`; the value is their number (__u64). */
struct kiln_error_key {
	__u8 word[KILN_ERROR_WORD_MAX]; /* the error's first word, padded with NUL */
	__u32 process;
	__u32 command; /* row */
};

/* Key of the map `waits`: a command and one that waited behind it. Rows, or KILN_SEVERAL_COMMANDS. */
struct kiln_wait_key {
	__u32 process;
	__u32 blocker;
	__u32 blocked;
	__u32 reserved;
};

struct kiln_wait {
	__u64 times;   /* that a command waited in its socket while the blocker was executed */
	__u64 wait_ns; /* how long, all commands together */
};

enum kiln_address_family { KILN_ADDRESS_UNKNOWN, KILN_ADDRESS_IPV4, KILN_ADDRESS_IPV6, KILN_ADDRESS_UNIX };

/* Key of the map `clients`; the value is the row (__u32) in `client_stats`, of which row p counts the clients of process p
 * that got none of their own. */
struct kiln_client_key {
	__u8 address[16]; /* as on the wire; IPv4 in the first 4 bytes */
	__u16 family;     /* enum kiln_address_family */
	__u16 port;       /* of a server; 0 for clients, whose ports are of no interest */
	__u32 process;
};

struct kiln_client_stats {
	__u64 commands;
	__u64 received_bytes;
	__u64 sent_bytes;
};

#define KILN_WATCH_ALL (1ULL << 32)

/* Which part of the requests is watched: requests/watch.bpf.h. Written by user space while the programs run. */
struct kiln_watch {
	__u64 share;   /* of the connections: so many of KILN_WATCH_ALL */
	__u64 salt;    /* which ones */
	__u32 slice;   /* number of times that they were chosen */
	__u32 window;  /* number of times that the programs were attached again */
	__u32 closed;  /* 1: no receive is watched */
	__u32 sampled; /* 1: something is left out. Then a connection is taken up at a receive that looks like a request, without a proof. */
	__u32 has_tls; /* the kernel's own note: OpenSSL was called */
	__u32 reserved;
};

/* Shared while the programs run. */
struct kiln_request_control {
	__u64 registers_offset;    /* the kernel's own note, see saved_registers() */
	__u32 rows_taken;          /* rows of `command_stats` given away, `other` rows not counted */
	__u32 armed;               /* user space sets it once `earlier_sockets` is complete */
	__u32 clients_taken;       /* rows of `client_stats` given away, likewise */
	__u32 several_threads;     /* a bit for each process of which threads other than the main one receive */
	__u32 unlisted_rows_taken; /* of the rows given away: those of names that no list of commands has */
	__u32 undecided_bytes;     /* kept now, see `undecided` */
	__u32 work_slots_taken;    /* of `work`, by threads that are not the main one of their process */
	__u32 reserved;
	struct kiln_watch watch;
	__u8 row_classes[KILN_COMMAND_CAPACITY]; /* the kernel's own note: the enum kiln_command_class of each row */
};

/* What can go missing, by name. X(symbol, name, what it means) */
#define KILN_REQUEST_LOSSES(X) \
	X(UNSYNCHRONISED_BYTES, "unsynchronised_bytes", "bytes received before the first provable request boundary of a connection") \
	X(PROTOCOL_ERRORS, "protocol_errors", \
		"requests that are none of the protocol; the connection is resynced at its next provable boundary") \
	X(OTHER_PROTOCOL_CONNECTIONS, "not_resp_connections", \
		"connections whose first bytes, or whose replies, are of another protocol (a cluster bus is one)") \
	X(TLS_CONNECTIONS, "tls_connections", \
		"encrypted connections whose commands are not seen: their TLS library is not followed, or doesn't read the socket itself") \
	X(UNSUPPORTED_CONNECTIONS, "unsupported_connections", "stream connections of a protocol that is not followed (MPTCP, vsock)") \
	X(RECEIVE_GAPS, "receive_gaps", "receives that passed unseen, noticed by the TCP sequence") \
	X(UNSUPPORTED_RECEIVES, "unsupported_receives", \
		"receives by a system call whose buffer can't be followed (recvmmsg, 32-bit; io_uring with hook socket)") \
	X(SPLIT_RECEIVES, "split_receives", "a server's receives that filled more than one iovec") \
	X(DISCARDED_RECEIVES, "discarded_receives", "receives with MSG_TRUNC: bytes consumed without being copied") \
	X(UNREADABLE_BUFFERS, "unreadable_buffers", "buffers of receives or sends that were not in memory when they were read") \
	X(PREEMPTED_CALLS, "preempted_calls", \
		"receives and sends on a CPU where another thread's was being followed (hook fentry, TLS); their connections are resynced at their next provable boundary") \
	X(CONNECTIONS_WITHOUT_STATE, "connections_without_state", "receives on connections for which there was no room or no memory") \
	X(DISPLACED_CONNECTIONS, "displaced_connections", \
		"idle connections that gave up their place: they are resynced at their next provable boundary") \
	X(UNTIMED_COMMANDS, "untimed_commands", "commands counted without latency: too many awaited replies on one connection") \
	X(UNMATCHED_CONNECTIONS, "unpaired_connections", \
		"connections whose replies can't be matched with commands (subscriptions, monitoring, replication, a slot migration, another protocol): counted without latency from there on") \
	X(UNSUPPORTED_SENDS, "unsupported_sends", \
		"sends by a system call whose buffer can't be followed (io_uring, sendmmsg, sendfile); their replies can't be matched from there on") \
	X(SEND_STEPS_EXCEEDED, "send_steps_exceeded", \
		"sends with more elements than are followed in one go; their replies can't be matched from there on") \
	X(WAITS_WITHOUT_NAME, "waits_without_name", \
		"waits without a known blocker, in whole or in part: too many pairs of commands, or executions in one wait") \
	X(CLIENTS_MAP_FULL, "clients_map_full", "connections counted under the client `other`: too many different addresses") \
	X(ERRORS_WITHOUT_NAME, "errors_without_name", \
		"error replies that are not listed by command and word: too many different ones, or in one send") \
	X(COMMANDS_MAP_FULL, "commands_map_full", \
		"commands counted under `other`: no free row; names that no server's list of commands has get a quarter of the rows") \
	X(COMMAND_NAMES_TOO_LONG, "command_names_too_long", "commands counted under `other`: name over 64 bytes") \
	X(RECEIVE_STEPS_EXCEEDED, "receive_steps_exceeded", "receives with more requests than are followed in one go") \
	X(TRACE_RING_FULL, "trace_ring_full", "records of a trace that found no room on their way to user space") \
	X(UNTRACED_COMMANDS, "untraced_commands", \
		"commands missing in a trace: their connection ended or its replies could not be matched any more, or too many were read or answered at once") \
	X(UNTRACED_PUSHES, "untraced_pushes", "pushes missing in a trace: too many in one send, or a send that could not be followed") \
	X(TRACED_REQUESTS_WITHOUT_ROOM, "traced_requests_without_room", "requests traced without arguments: too many waited for replies")

enum kiln_request_loss {
#define X(symbol, name, meaning) KILN_LOST_##symbol,
	KILN_REQUEST_LOSSES(X)
#undef X
		KILN_REQUEST_LOSS_COUNT
};

#pragma clang diagnostic pop

#endif
