// bpf/protocols/redis/ (resp.bpf.h and replies.bpf.h) compiled for user space: the scanners' own source, fed from memory.
#ifndef RESP_HOST_H
#define RESP_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct resp_host;

/// A connection at the start of its stream; nil only without memory.
struct resp_host *resp_host_create(void);
void resp_host_free(struct resp_host *host);

/// One receive. The bytes are read only during the call. false: the stream is not RESP (from here or an earlier receive on).
bool resp_host_receive(struct resp_host *host, const uint8_t *bytes, uint32_t length);

/// All bytes so far belong to complete_request requests.
bool resp_host_at_boundary(const struct resp_host *host);

/// The commands so far, a row for each name in the order of their first appearance. Row 0 holds names too long for a row.
size_t resp_host_rows(const struct resp_host *host);
const uint8_t *resp_host_name(const struct resp_host *host, size_t row); // 64 bytes, padded with NUL
uint64_t resp_host_count(const struct resp_host *host, size_t row);

/// One send of the server's side. false: the replies are not RESP (from here or an earlier send on).
bool resp_host_send(struct resp_host *host, const uint8_t *bytes, uint32_t length);

/// All bytes sent so far belong to whole replies.
bool resp_host_replies_at_boundary(const struct resp_host *host);

/// What the last send completed: replies behind its last error, pushes, and the errors with what came before each.
uint32_t resp_host_sent_replies(const struct resp_host *host);
uint32_t resp_host_sent_pushes(const struct resp_host *host);
uint32_t resp_host_sent_errors(const struct resp_host *host);

/// The largest reply that the last send completed, in bytes with what earlier sends had of it, and which of them it is; 0: none.
uint64_t resp_host_largest_reply(const struct resp_host *host, uint32_t *index);

struct resp_host_error {
	uint32_t replies_before;
	bool nested;         // an element of a reply that goes on
	const uint8_t *word; // 32 bytes, padded with NUL
};

/// From here on each request and each reply is known by itself, as a trace needs it.
void resp_host_tell_apart(struct resp_host *host);

/// The requests that the last receive completed: how many, where each begins (negative: so many bytes before this receive), and
/// how long it is.
uint32_t resp_host_received_requests(const struct resp_host *host);
int32_t resp_host_received_begin(const struct resp_host *host, uint32_t index);
uint32_t resp_host_received_bytes(const struct resp_host *host, uint32_t index);

/// The replies and pushes that the last send completed: how many (1024 at most), and where in the send each ends.
uint32_t resp_host_sent_ends(const struct resp_host *host);
uint32_t resp_host_sent_end(const struct resp_host *host, uint32_t index);

struct resp_host_error resp_host_sent_error(const struct resp_host *host, uint32_t index);

#endif
