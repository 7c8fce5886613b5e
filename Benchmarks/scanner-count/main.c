// Feeds the kernel's scanners, compiled for user space, a fixed workload: `scanner-count WORKLOAD COMMANDS`. Run below an
// instruction counter; what doesn't grow with the commands cancels between two runs.
#include "resp_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, ELEMENTS = 100, VALUE = 1000, ROOM = BATCH * (VALUE + 100) };

static char bytes[ROOM];

static uint32_t add(uint32_t length, const char *name, const char *value)
{
	return length +
		(uint32_t)snprintf(bytes + length, ROOM - length, "*3\r\n$%zu\r\n%s\r\n$5\r\nkey:1\r\n$%zu\r\n%s\r\n", strlen(name), name,
			strlen(value), value);
}

// The bytes of one receive or send; how many commands they are.
static uint32_t prepare(const char *workload, unsigned *commands, bool *sends)
{
	static const char *const names[] = { "SET", "GETSET", "append", "INCRBY", "LPUSH", "SADD", "hincrbyfloat", "ZINCRBY" };
	static char value[VALUE + 1];
	uint32_t length = 0;

	*commands = 1;
	*sends = false;
	if (!strcmp(workload, "get"))
		return (uint32_t)sprintf(bytes, "*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n");
	if (!strcmp(workload, "reply")) {
		*sends = true;
		return (uint32_t)sprintf(bytes, "$3\r\nxxx\r\n");
	}
	if (!strcmp(workload, "reply-elements")) {
		*sends = true;
		length = (uint32_t)sprintf(bytes, "*%d\r\n", ELEMENTS);
		for (int i = 0; i < ELEMENTS; i++)
			length += (uint32_t)sprintf(bytes + length, "$3\r\nxxx\r\n");
		return length;
	}
	*commands = BATCH;
	memset(value, 'v', VALUE);
	for (int i = 0; i < BATCH; i++) {
		if (!strcmp(workload, "get-pipeline"))
			length += (uint32_t)sprintf(bytes + length, "*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n");
		else if (!strcmp(workload, "set-1000-pipeline"))
			length = add(length, "SET", value);
		else if (!strcmp(workload, "mixed-pipeline"))
			length = add(length, names[i % 8], "1");
	}
	return length;
}

int main(int count, char **arguments)
{
	unsigned commands = 0;
	bool sends = false;
	struct resp_host *host = resp_host_create();
	uint32_t length = count == 3 ? prepare(arguments[1], &commands, &sends) : 0;

	if (!host || !length) {
		fprintf(stderr, "usage: scanner-count get|reply|reply-elements|get-pipeline|set-1000-pipeline|mixed-pipeline COMMANDS\n");
		return 2;
	}
	for (long left = strtol(arguments[2], NULL, 10); left > 0; left -= commands)
		if (!(sends ? resp_host_send : resp_host_receive)(host, (const uint8_t *)bytes, length))
			return 1;
	resp_host_free(host);
	return 0;
}
