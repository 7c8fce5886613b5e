#define _GNU_SOURCE
#include "load_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 64 << 10, READY = 64 };

struct client {
	int fd;
	bool waiting;
	size_t received; // of the replies that are awaited
	__u64 since_ns;
};

struct load {
	const struct load_request *request;
	struct load_result *result;
	struct client *clients;
	int epoll;
	__u64 next_key;
	const char *reply;
	char out[MOST_BYTES];
	char in[MOST_BYTES];
};

static __u64 now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (__u64)time.tv_sec * 1000000000 + (__u64)time.tv_nsec;
}

static const char *expected_reply(enum load_kind kind)
{
	switch (kind) {
	case LOAD_GET:
		return "$3\r\nxxx\r\n";
	case LOAD_DELETE:
		return ":1\r\n";
	default:
		return "+OK\r\n";
	}
}

static void record(struct load *load, __u64 latency_ns)
{
	struct kiln_latency_sum *latency = &load->result->latency;

	latency->sum_ns += latency_ns * load->request->pipeline;
	if (latency_ns > latency->max_ns)
		latency->max_ns = latency_ns;
	load->result->latency_slots[kiln_histogram_slot(latency_ns)] += load->request->pipeline;
}

static bool keys_are_left(const struct load *load)
{
	return load->request->kind != LOAD_DELETE || load->next_key + load->request->pipeline <= load->request->last_key;
}

static int ask(struct load *load, struct client *client, __u64 since_ns)
{
	const struct load_request *request = load->request;
	size_t length = 0;

	for (unsigned i = 0; i < request->pipeline; i++) {
		bool fixed = request->kind == LOAD_GET || request->kind == LOAD_UPDATE;
		unsigned long long key = fixed ? load->next_key % request->keys : load->next_key;
		const char *format = request->kind == LOAD_GET ? "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012llu\r\n"
			: request->kind == LOAD_DELETE         ? "*2\r\n$3\r\nDEL\r\n$16\r\nkey:%012llu\r\n"
							       : "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012llu\r\n$3\r\nxxx\r\n";

		load->next_key++;
		length += (size_t)snprintf(load->out + length, sizeof load->out - length, format, key);
	}
	if (send(client->fd, load->out, length, MSG_NOSIGNAL) != (ssize_t)length)
		return errno ? -errno : -EMSGSIZE;
	client->waiting = true;
	client->received = 0;
	client->since_ns = since_ns;
	return 0;
}

// Take what came: 1 when all replies are there.
static int take(struct load *load, struct client *client)
{
	size_t length = strlen(load->reply), wanted = length * load->request->pipeline;
	ssize_t got = recv(client->fd, load->in, sizeof load->in, MSG_DONTWAIT);

	if (got <= 0)
		return got < 0 && errno == EAGAIN ? 0 : got < 0 ? -errno : -ECONNRESET;
	for (ssize_t i = 0; i < got; i++)
		if (load->in[i] != load->reply[(client->received + (size_t)i) % length])
			return -EPROTO;
	client->received += (size_t)got;
	if (client->received < wanted)
		return 0;
	client->waiting = false;
	load->result->commands += load->request->pipeline;
	record(load, now_ns() - client->since_ns);
	return 1;
}

static int run(struct load *load)
{
	const struct load_request *request = load->request;
	struct epoll_event ready[READY];
	struct pollfd waiting = { .fd = load->epoll, .events = POLLIN };
	__u64 start = now_ns(), end = start + (__u64)(request->seconds * 1e9), due = start;
	__u64 every = request->rate > 0 ? (__u64)(1e9 * request->pipeline / request->rate) : 0;
	unsigned busy = 0, turn = 0;
	int error;

	for (unsigned i = 0; !every && i < request->connections && keys_are_left(load); i++, busy++)
		if ((error = ask(load, &load->clients[i], now_ns())))
			return error;
	for (;;) {
		__u64 now = now_ns();

		while (every && due <= now && due < end && busy < request->connections) {
			while (load->clients[turn].waiting)
				turn = (turn + 1) % request->connections;
			if ((error = ask(load, &load->clients[turn], due)))
				return error;
			due += every;
			busy++;
		}
		if (!busy && (!every || due >= end))
			break;
		struct timespec pause = { .tv_sec = 1 };

		// A reply that doesn't come within a second is not waited for longer than that at a time.
		if (every && due < end && busy < request->connections) {
			__u64 left = due > now ? due - now : 0;

			pause = (struct timespec){ .tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000) };
		}
		if (ppoll(&waiting, 1, &pause, NULL) < 0 && errno != EINTR)
			return -errno;
		int count = epoll_wait(load->epoll, ready, READY, 0);

		for (int i = 0; i < count; i++) {
			struct client *client = &load->clients[ready[i].data.u32];
			int taken = client->waiting ? take(load, client) : 0;

			if (taken < 0)
				return taken;
			if (!taken)
				continue;
			busy--;
			if (every || now_ns() >= end || !keys_are_left(load))
				continue;
			if ((error = ask(load, client, now_ns())))
				return error;
			busy++;
		}
	}
	load->result->seconds = (double)(now_ns() - start) / 1e9;
	return 0;
}

static int connect_all(struct load *load)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)load->request->port) };
	int one = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (unsigned i = 0; i < load->request->connections; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
		int fd = load->clients[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) ||
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) || epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event))
			return -errno;
	}
	return 0;
}

int load_client_run(const struct load_request *request, struct load_result *result)
{
	struct load *load = calloc(1, sizeof *load);
	cpu_set_t former, own;
	int error = -ENOMEM;

	memset(result, 0, sizeof *result);
	sched_getaffinity(0, sizeof former, &former);
	CPU_ZERO(&own);
	CPU_SET(request->cpu, &own);
	sched_setaffinity(0, sizeof own, &own);
	prctl(PR_SET_TIMERSLACK, 1);
	if (load)
		load->clients = calloc(request->connections, sizeof *load->clients);
	if (load && load->clients) {
		load->request = request;
		load->result = result;
		load->next_key = request->first_key;
		load->reply = expected_reply(request->kind);
		for (unsigned i = 0; i < request->connections; i++)
			load->clients[i].fd = -1;
		load->epoll = epoll_create1(EPOLL_CLOEXEC);
		error = load->epoll < 0 ? -errno : connect_all(load);
		if (!error)
			error = run(load);
		result->next_key = load->next_key;
		for (unsigned i = 0; i < request->connections; i++)
			if (load->clients[i].fd >= 0)
				close(load->clients[i].fd);
		if (load->epoll >= 0)
			close(load->epoll);
		free(load->clients);
	}
	free(load);
	prctl(PR_SET_TIMERSLACK, 0);
	sched_setaffinity(0, sizeof former, &former);
	return error;
}
