// A client for benchmarks: one thread, many connections, requests and replies of known length.
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <stdbool.h>
#include <linux/types.h>
#include "kiln_histogram.h"

enum load_kind {
	LOAD_SET,    // keys that don't exist: from `first_key` on
	LOAD_GET,    // keys 0 ..< `keys`, which must exist, in turn
	LOAD_UPDATE, // SET of the same
	LOAD_DELETE, // from `first_key` on, until `last_key`
};

struct load_request {
	enum load_kind kind;
	int port; // of 127.0.0.1
	int cpu;  // the calling thread runs there meanwhile
	unsigned connections;
	unsigned pipeline; // requests that go out together
	double rate;       // requests a second, however fast replies come; 0: the next when the former is answered
	double seconds;
	__u64 keys;
	__u64 first_key;
	__u64 last_key;
};

struct load_result {
	__u64 commands; // answered
	__u64 next_key; // after the last that was asked for
	double seconds;
	struct kiln_latency_sum latency; // from when a request was due, with a rate, or sent, to the arrival of its reply
	__u64 latency_slots[KILN_HISTOGRAM_SLOTS + 1];
};

/// 0, or the negative errno; -EPROTO: a reply was not the expected one.
int load_client_run(const struct load_request *request, struct load_result *result);

#endif
