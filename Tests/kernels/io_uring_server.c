/* A server that receives and sends through io_uring alone, and answers each receive with +OK: io_uring_server PORT. One connection after the
 * other; a request a receive. Raw system calls, so that it needs no library. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	int fd;
	unsigned *submit_tail, *submit_mask, *submit_array, *done_head, *done_tail, *done_mask;
	struct io_uring_sqe *submissions;
	struct io_uring_cqe *completions;
} ring;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void *map(size_t size, off_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

static void open_ring(void)
{
	struct io_uring_params p = { 0 };
	char *submit, *done;

	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (ring.fd < 0)
		fail("io_uring_setup");
	submit = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	done = map(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.submissions = map(p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	ring.submit_tail = (unsigned *)(submit + p.sq_off.tail);
	ring.submit_mask = (unsigned *)(submit + p.sq_off.ring_mask);
	ring.submit_array = (unsigned *)(submit + p.sq_off.array);
	ring.done_head = (unsigned *)(done + p.cq_off.head);
	ring.done_tail = (unsigned *)(done + p.cq_off.tail);
	ring.done_mask = (unsigned *)(done + p.cq_off.ring_mask);
	ring.completions = (struct io_uring_cqe *)(done + p.cq_off.cqes);
}

/* One operation, to its end: its result. */
static int perform(uint8_t operation, int fd, const void *buffer, unsigned length)
{
	unsigned tail = *ring.submit_tail, index = tail & *ring.submit_mask, head = *ring.done_head;
	struct io_uring_sqe *entry = &ring.submissions[index];
	int result;

	memset(entry, 0, sizeof *entry);
	entry->opcode = operation;
	entry->fd = fd;
	entry->addr = (uintptr_t)buffer;
	entry->len = length;
	ring.submit_array[index] = index;
	__atomic_store_n(ring.submit_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		fail("io_uring_enter");
	while (head == __atomic_load_n(ring.done_tail, __ATOMIC_ACQUIRE)) {
		if (syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
			fail("io_uring_enter");
	}
	result = ring.completions[head & *ring.done_mask].res;
	__atomic_store_n(ring.done_head, head + 1, __ATOMIC_RELEASE);
	return result;
}

int main(int count, char **arguments)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), connection, one = 1;
	static char request[4096];

	address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 6390);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
		fail("listen");
	open_ring();
	puts("ready");
	fflush(stdout);
	while ((connection = accept(listener, NULL, NULL)) >= 0) {
		while (perform(IORING_OP_RECV, connection, request, sizeof request) > 0)
			perform(IORING_OP_SEND, connection, "+OK\r\n", 5);
		close(connection);
	}
	return 1;
}
