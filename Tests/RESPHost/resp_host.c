#include "resp_host.h"

#include "protocols/redis/replies.bpf.h"

struct resp_host {
	struct request_stream stream;
	struct request_reader reader;
	struct response_stream replies;
	struct response_reader response_reader;
	uint32_t ends[1024];
	uint32_t ends_listed;
	size_t rows;
	struct kiln_command_key keys[KILN_COMMAND_CAPACITY];
	uint64_t counts[KILN_COMMAND_CAPACITY];
};

static _Thread_local struct resp_host *current;

static __u32 command_row(const struct kiln_command_key *key)
{
	size_t row;

	for (row = 1; row < current->rows; row++)
		if (!memcmp(&current->keys[row], key, sizeof *key))
			return (__u32)row;
	if (row == KILN_COMMAND_CAPACITY)
		return 0;
	current->keys[row] = *key;
	current->rows = row + 1;
	return (__u32)row;
}

static bool is_special(const struct request_reader *r, __u32 command)
{
	(void)r;
	(void)command;
	return false;
}

static __u32 command_variant(struct request_reader *r, __u32 command, __u32 offset)
{
	(void)r;
	(void)offset;
	return command;
}

static bool requests_are_single(const struct request_reader *r, __u32 command)
{
	(void)command;
	return r->traced;
}

static bool responses_are_listed(const struct response_reader *r)
{
	return r->lists;
}

static void begin_piece(const struct response_reader *r)
{
	(void)r;
}

static void end_piece(const struct response_reader *r)
{
	(void)r;
}

static void note_response(struct response_reader *r, __u32 kind)
{
	(void)kind;
	if (current->ends_listed < 1024)
		current->ends[current->ends_listed++] = r->position;
}

static void count_unlisted(__u32 command, __u32 count)
{
	current->counts[command] += count;
}

int lose(__u32 loss, __u64 amount)
{
	(void)loss;
	(void)amount;
	return 0;
}

struct resp_host *resp_host_create(void)
{
	struct resp_host *host = calloc(1, sizeof *host);

	if (host) {
		host->rows = 1;
		host->reader.counting = 1;
	}
	return host;
}

void resp_host_free(struct resp_host *host)
{
	free(host);
}

bool resp_host_receive(struct resp_host *host, const uint8_t *bytes, uint32_t length)
{
	struct request_reader *r = &host->reader;
	// Exactly as long as the receive, so that a memory checker sees a read beyond it.
	uint8_t *copy;

	if (host->stream.state == STREAM_FAILED)
		return false;
	copy = malloc(length);
	if (!copy)
		return false;
	memcpy(copy, bytes, length);
	current = host;
	if (!requests_at_boundary(&host->stream)) {
		resume_receive(r, &host->stream, (__u64)copy, length);
		read_requests(r, &host->stream);
	} else if (read_run(r, (__u64)copy, length) == READ_MORE) {
		restart_requests(&host->stream);
		read_requests(r, &host->stream);
	}
	for (__u32 i = 0; i < r->runs_noted; i++)
		host->counts[r->runs[i].command] += r->runs[i].count;
	host->counts[r->run_command] += r->run_count;
	free(copy);
	return host->stream.state != STREAM_FAILED;
}

bool resp_host_send(struct resp_host *host, const uint8_t *bytes, uint32_t length)
{
	struct response_reader *r = &host->response_reader;
	uint8_t *copy = malloc(length);

	if (!copy || host->replies.state == STREAM_FAILED) {
		free(copy);
		return false;
	}
	memcpy(copy, bytes, length);
	current = host;
	start_responses(r);
	host->ends_listed = 0;
	read_responses(r, &host->replies, (__u64)copy, length);
	free(copy);
	return host->replies.state != STREAM_FAILED;
}

bool resp_host_replies_at_boundary(const struct resp_host *host)
{
	return responses_at_boundary(&host->replies);
}

uint32_t resp_host_sent_replies(const struct resp_host *host)
{
	return host->response_reader.replies;
}

uint32_t resp_host_sent_pushes(const struct resp_host *host)
{
	return host->response_reader.pushes;
}

uint32_t resp_host_sent_errors(const struct resp_host *host)
{
	return host->response_reader.errors_listed;
}

uint64_t resp_host_largest_reply(const struct resp_host *host, uint32_t *index)
{
	*index = host->response_reader.largest_at;
	return host->response_reader.largest;
}

struct resp_host_error resp_host_sent_error(const struct resp_host *host, uint32_t index)
{
	const struct response_error *error = &host->response_reader.errors[index];

	return (struct resp_host_error){ error->replies_before, error->nested != 0, error->word };
}

void resp_host_tell_apart(struct resp_host *host)
{
	host->reader.traced = 1;
	host->response_reader.lists = 1;
}

uint32_t resp_host_received_requests(const struct resp_host *host)
{
	return host->reader.runs_noted + host->reader.run_count;
}

int32_t resp_host_received_begin(const struct resp_host *host, uint32_t index)
{
	const struct request_reader *r = &host->reader;

	return (int32_t)((index < r->runs_noted ? r->runs[index].begun : r->run_begun) - r->carried);
}

uint32_t resp_host_received_bytes(const struct resp_host *host, uint32_t index)
{
	const struct request_reader *r = &host->reader;

	return index < r->runs_noted ? r->runs[index].largest : r->run_largest;
}

uint32_t resp_host_sent_ends(const struct resp_host *host)
{
	return host->ends_listed;
}

uint32_t resp_host_sent_end(const struct resp_host *host, uint32_t index)
{
	return host->ends[index];
}

bool resp_host_at_boundary(const struct resp_host *host)
{
	return requests_at_boundary(&host->stream);
}

size_t resp_host_rows(const struct resp_host *host)
{
	return host->rows;
}

const uint8_t *resp_host_name(const struct resp_host *host, size_t row)
{
	return host->keys[row].name;
}

uint64_t resp_host_count(const struct resp_host *host, size_t row)
{
	return host->counts[row];
}
