/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The state of each connection, by how often it is needed.
 *
 *   struct connection          one cache line, touched by every receive and send; a set-associative table
 *   struct arrival             touched by the interrupts that bring data, on whatever CPU
 *   struct connection_details  only where a request or a reply is cut, or where the commands in flight are not equal ones of one
 *                              receive, or are not answered by one send
 *
 * A table beside socket storage, because the storage's two lookups took 0.9 % of the server's CPU time under small GETs. */
#ifndef KILN_CONNECTIONS_BPF_H
#define KILN_CONNECTIONS_BPF_H

#include "common/bpf.h"
#include "requests/variant.h"
#include PROTOCOL_HEADER(state.bpf.h)

#define CONNECTION_WAYS 4     /* a power of two */
#define CONNECTION_SETS 16384 /* with 4 ways: 65,536 connections, 4 MiB */
#define CONNECTION_SET_SHIFT (64 - 14)
#define CONNECTION_NEIGHBOURS 16                /* sets of a page of 4 KiB */
#define CONNECTION_IDLE_NS (60ULL * 1000000000) /* where a set is full, a connection idle for longer gives up its place */
#define PIPELINE_RUNS 512                       /* runs of equal commands awaiting replies on a connection; a power of two */
#define PIPELINE_BATCHES 32                     /* receives that they came in; a power of two */

enum sync {
	SYNC_UNKNOWN,   /* no receive was seen yet */
	SYNCED,         /* the stream is followed from a proven boundary */
	RESYNCING,      /* the stream is parsed, and not counted until a boundary is proven */
	SYNC_IGNORED,   /* not a client of this server, or another protocol */
	SYNC_UNDECIDED, /* its first bytes are kept until a response shows whether they are of this protocol */
};

enum waiting {
	WAITING_NONE,
	WAITING_ONE,      /* one command is in flight: in struct connection */
	WAITING_PIPELINE, /* in the pipeline of struct connection_details */
	WAITING_RUN,      /* equal commands of one receive: in struct connection */
};

enum connection_flags {
	IN_REQUEST = 1 << 0,   /* the stream is inside a request; struct connection_details has its state */
	IN_REPLY = 1 << 1,     /* the stream is inside a response, likewise */
	REPLIED = 1 << 2,      /* while resyncing: something was sent since the last receive */
	PROBED = 1 << 3,       /* while resyncing: a whole request was parsed */
	SENT_IN_PART = 1 << 4, /* while resyncing: the last send may not have been the end of a response */
	UNMATCHED = 1 << 5,    /* responses can't be matched with requests any more */
	/* Free for the protocol; its state.bpf.h names them. */
	PROTOCOL_FLAG_0 = 1 << 6,
	PROTOCOL_FLAG_1 = 1 << 7,
	PROTOCOL_FLAG_2 = 1 << 8,
	PROTOCOL_FLAG_3 = 1 << 13,
	/* tls.bpf.h */
	CARRIES_TLS = 1 << 9,   /* a socket: what it carries is seen elsewhere */
	PEER_KNOWN = 1 << 10,   /* an SSL object: its socket has been seen; a socket, on the client's side: it was asked for its peer */
	OUTGOING = 1 << 11,     /* either, and a server's connection: the process opened it */
	STREAM_START = 1 << 12, /* an SSL object, or a client's connection: it begins in this session, and no byte was seen */
	SUBSCRIBER = 1 << 14,   /* with a trace: unmatched by a subscription, and its messages are emitted */
	TRACED = 1 << 15,       /* a trace, or a session of some calls' stacks, asks for this client's requests */
};

#define TLS_ID (1ULL << 63) /* no socket cookie and no inode number is that large */

/* Receives of a connection don't overlap, nor do sends; a server that sends on one thread while another receives from the
 * same connection may lose a latency, never a call. */
struct connection {
	__u64 id;          /* socket cookie, or inode number with hook syscall, or ssl_id(); 0: free */
	__u64 received_ns; /* of the last receive, and so of the command that waits */
	__u64 arrived_ns;  /* when its first byte arrived; 0: not known */
	__u64 executed_ns; /* when its execution ended; 0: not known */
	__u64 sent_ns;     /* return of the last send */
	union {
		__u32 sequence; /* with a trace: requests counted on the connection */
		__u32 slice;    /* without one: in which it was received last (watch.bpf.h) */
	};
	union {
		__u32 pending; /* with a trace: requests of which it isn't decided yet whether they are emitted */
		__u32 window;  /* without one: likewise */
	};
	__u32 copied_seq; /* TCP's count of bytes read, after the last receive */
	union {
		__u32 run_queue_ns; /* of its execution: ready and not running */
		__u32 run_count;    /* of the run that waits */
	};
	__u16 command;     /* row of the one that is in flight; QUEUED: it will be executed later */
	__u16 client : 10; /* row in client_stats; like `process` written once */
	__u16 process : 4;
	union {
		struct {
			__u16 flags;  /* changed by set_flags() and clear_flags() */
			__u8 sync;    /* enum sync */
			__u8 waiting; /* enum waiting */
		};
		__u32 flags_word;
	};
};

_Static_assert(KILN_CLIENT_CAPACITY <= 1 << 10 && KILN_MAX_TARGETS <= 1 << 4, "rows and processes have room");
_Static_assert(sizeof(struct connection) == 64, "a cache line");

struct connection_set {
	struct connection ways[CONNECTION_WAYS];
};

/* Key: set_of() the connection's id. A TCP connection's place is freed with its socket, a unix one's at its end of stream. Where
 * a set is full, a connection that was idle for long is dropped (displaced_connections); if none was: connections_without_state. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CONNECTION_SETS);
	__type(key, __u32);
	__type(value, struct connection_set);
} connections SEC(".maps");

/* In a table of its own: an interrupt on another CPU would take the connection's cache line away. What the fields mean, and who
 * writes them when: arrivals.bpf.h. */
struct arrival {
	__u64 id; /* as the connection's in the same place */
	__u64 unread_since_ns;
	__u32 first_seq;
	__u32 next_seq;
	__u64 followed;
};

struct arrival_set {
	struct arrival ways[CONNECTION_WAYS];
};

/* Key and ways as in `connections`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CONNECTION_SETS);
	__type(key, __u32);
	__type(value, struct arrival_set);
} arrivals SEC(".maps");

/* What a receive brought, beside its commands. */
struct arrived {
	__u64 arrived_ns; /* 0: not known */
	__u64 received_ns;
};

/* A receive and a send of a connection run on two CPUs at once where two threads use it: flags change atomically, and only if they do. `sync`
 * and `waiting` are bytes of their own. */
static __always_inline void set_flags(struct connection *x, __u32 flags)
{
	if (~x->flags & flags)
		__sync_fetch_and_or(&x->flags_word, flags);
}

static __always_inline void clear_flags(struct connection *x, __u32 flags)
{
	if (x->flags & flags)
		__sync_fetch_and_and(&x->flags_word, ~flags);
}

static __always_inline void change_flags(struct connection *x, __u32 flags, bool set)
{
	if (set)
		set_flags(x, flags);
	else
		clear_flags(x, flags);
}

/* Commands of one receive. */
struct batch {
	__u64 received_ns;
	__u64 arrived_ns;
	__u32 end;      /* index of the run after its last */
	__u32 sequence; /* with a trace: of its first command on the connection; the others follow */
	__u32 first;    /* with a trace: of the first command of the receive, which may have got no reply */
	__u32 reserved;
};

#define QUEUED 0x8000 /* in `command`: a later request will execute it */

static __always_inline __u32 command_in_flight(const struct connection *x)
{
	return x->command & ~QUEUED;
}

struct pending_run {
	__u16 command;
	__u16 count;
};

_Static_assert(KILN_COMMAND_CAPACITY <= QUEUED, "rows leave the bit alone");

struct connection_details {
	struct request_stream requests;
	struct response_stream replies;
	__u64 first_sent_ns; /* return of the first send of the reply that is being sent; 0: none was */
	__u64 failed_probes; /* in a row */
	__u64 probed;        /* client's side, while probing: requests that were sent and not yet answered */
	__u64 untimed;       /* commands behind the pipeline's that await replies without a latency */
	/* The pipeline. Indices grow for ever and are taken modulo their size. */
	__u32 head, tail;
	__u32 batch_head, batch_tail;
	__u32 batch_answered; /* with a trace: commands of the first batch that were answered */
	__u32 reserved;
	struct batch batches[PIPELINE_BATCHES];
	struct pending_run runs[PIPELINE_RUNS];
};

/* Ids that follow each other share a page of the table, in sets of their own: with a page for each connection, finding it took 110 ns
 * of a receive instead of 30 to 50. The kernel gives cookies away in batches of 4,096 a CPU: only all their bits tell the pages
 * apart. */
static __always_inline __u32 set_of(__u64 id)
{
	return ((id / CONNECTION_NEIGHBOURS) * 0x9E3779B97F4A7C15ULL >> CONNECTION_SET_SHIFT) ^ (id % CONNECTION_NEIGHBOURS);
}

/* Which element of a set, each of `size` bytes and beginning with its id, is the connection's; CONNECTION_WAYS: none.
 *
 * What is added to the number of the element is zero, which the verifier doesn't know: one pointer with a variable offset comes of it,
 * and what follows is verified once, not four times. */
static __always_inline __u32 way_among(const void *set, __u32 size, __u64 id, __u32 first, __u32 end)
{
	__u64 found = 0;
	__u32 i;

#pragma unroll
	for (i = first; i < end; i++) {
		found = *(const __u64 *)(set + i * size);
		if (found == id) {
			barrier_var(found);
			i += found ^ id;
			break;
		}
	}
	barrier_var(i);
	return i;
}

/* Few sets hold more than one. */
static __noinline __u32 way_behind_first(const void *set, __u32 size, __u64 id)
{
	return way_among(set, size, id, 1, CONNECTION_WAYS);
}

static __always_inline __u32 way_of(const void *set, __u32 size, __u64 id)
{
	__u32 way = way_among(set, size, id, 0, 1);

	if (way)
		way = way_behind_first(set, size, id);
	barrier_var(way);
	return way;
}

static __always_inline struct connection *find_connection(__u64 id)
{
	__u32 key = set_of(id), way;
	struct connection_set *set = bpf_map_lookup_elem(&connections, &key);

	way = set && id ? way_of(set, sizeof set->ways[0], id) : CONNECTION_WAYS;
	return way < CONNECTION_WAYS ? &set->ways[way] : NULL;
}

static __always_inline struct arrival *find_arrival(__u64 id)
{
	__u32 key = set_of(id), way;
	struct arrival_set *set = bpf_map_lookup_elem(&arrivals, &key);

	way = set && id ? way_of(set, sizeof set->ways[0], id) : CONNECTION_WAYS;
	return way < CONNECTION_WAYS ? &set->ways[way] : NULL;
}

#endif
