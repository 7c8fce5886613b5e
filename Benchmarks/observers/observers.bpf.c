/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What kiln is held against: an observer whose cost is known, one that ships an event for each request, one that only looks, and one that
 * does nothing. Each runs alone. */
#include "common/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "include/observers.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BPF_MAP_TYPE_PERF_EVENT_ARRAY 4
#define BPF_F_CURRENT_CPU 0xffffffffULL
#define MSG_PEEK 2
#define MOST_TURNS (1 << 20)
#define MOST_ARGUMENTS 4 /* of a request whose length is looked for */
#define MOST_DIGITS 4

const volatile struct observer_options options SEC(".rodata.options");

/* One value for each CPU: what was burned in calls that nothing interrupted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct observer_burned);
} burned SEC(".maps");

/* struct observer_event records to user space. Full: the kernel counts the loss for the reader. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct observer_event);
} scratch SEC(".maps");

static __always_inline bool is_target(void)
{
	return bpf_get_current_task_btf()->tgid == (int)options.tgid;
}

struct burning {
	__u64 start;
	__u64 now;
};

static long burn_turn(__u32 turn, struct burning *burning)
{
	burning->now = bpf_ktime_get_ns();
	return burning->now - burning->start >= options.burn_ns;
}

/* Burns options.burn_ns of the target's CPU time in each send. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(burn, struct sock *sk, int ret, int flags)
{
	struct burning burning;
	struct observer_burned *sums;
	__u32 zero = 0;

	if (!is_target() || ret <= 0)
		return 0;
	burning.start = burning.now = bpf_ktime_get_ns();
	bpf_loop(MOST_TURNS, burn_turn, &burning, 0);
	sums = bpf_map_lookup_elem(&burned, &zero);
	/* Where something else ran meanwhile, the clock tells more than was burned: on a busy machine milliseconds. */
	if (sums && burning.now - burning.start < options.burn_ns + options.burn_ns / 2) {
		sums->calls++;
		sums->ns += burning.now - burning.start;
	}
	return 0;
}

/* How long the request is that a receive begins with: small ones only; else all that was received. */
static __always_inline __u32 first_request(const __u8 *b, __u32 received)
{
	__u32 arguments = b[1] - '0', at = 4, i, j;

	if (b[0] != '*' || b[2] != '\r' || arguments > MOST_ARGUMENTS)
		return received;
	for (i = 0; i < MOST_ARGUMENTS; i++) {
		__u32 length = 0;

		if (i == arguments)
			break;
		for (j = 1; j < MOST_DIGITS + 1; j++) {
			__u8 digit = b[(at + j) & (OBSERVER_PAYLOAD - 1)];

			if (digit == '\r')
				break;
			length = length * 10 + (digit - '0');
		}
		at += j + 2 + length + 2;
	}
	return at && at <= received ? at : received;
}

struct shipping {
	void *ctx;
	struct observer_event *event;
	__u64 address;
	__u32 each;
};

static long ship_one(__u32 index, struct shipping *shipping)
{
	struct observer_event *event = shipping->event;
	__u32 length = shipping->each < OBSERVER_PAYLOAD ? shipping->each : OBSERVER_PAYLOAD;

	barrier_var(length);
	if (length > OBSERVER_PAYLOAD)
		return 1;
	if (bpf_probe_read_user(event->payload, length, (void *)(shipping->address + (__u64)index * shipping->each)))
		return 1;
	bpf_perf_event_output(shipping->ctx, &events, BPF_F_CURRENT_CPU, event, sizeof *event);
	return 0;
}

/* Ships each request that a receive brought: where all are as long as the first, for which alone it looks. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(ship, struct sock *sk, int ret, int flags)
{
	const struct pt_regs *regs;
	struct observer_event *event;
	struct shipping shipping = { .ctx = ctx };
	__u32 zero = 0, length;

	if (!is_target() || ret <= 0 || flags & MSG_PEEK)
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	regs = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	length = ret < OBSERVER_PAYLOAD ? ret : OBSERVER_PAYLOAD;
	barrier_var(length);
	if (length > OBSERVER_PAYLOAD || bpf_probe_read_user(event->payload, length, (void *)regs->si))
		return 0;
	event->time_ns = bpf_ktime_get_ns();
	event->length = ret;
	event->tgid = options.tgid;
	shipping.event = event;
	shipping.address = regs->si;
	shipping.each = first_request(event->payload, ret);
	bpf_loop(ret / shipping.each, ship_one, &shipping, 0);
	return 0;
}

/* Is called when data arrives, and at each receive and each send; reads the first bytes of what was received or sent, and at a send the clock;
 * and does nothing with them. About the least that an observer at the sockets takes that tells when a request arrived, what it is, and when
 * its reply was handed over. As cheaply as is known: kiln reads in the same ways, and has the clock of a receive from TCP. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct observer_looked);
} looked SEC(".maps");

static __u64 registers_offset; /* of the saved registers above a task's stack: the same for all */

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

static __always_inline const struct pt_regs *registers_of(struct task_struct *task)
{
	struct observer_looked *sums;
	__u32 zero = 0;

	if (!registers_offset && (sums = bpf_map_lookup_elem(&looked, &zero))) {
		/* No number may be taken from a pointer (Linux 6.12); what was in a map is a number. */
		*(volatile __u64 *)&sums->registers = (__u64)bpf_task_pt_regs(task);
		registers_offset = *(volatile __u64 *)&sums->registers - (__u64)task->stack;
	}
	return bpf_rdonly_cast((void *)((__u64)task->stack + registers_offset), bpf_core_type_id_kernel(struct pt_regs));
}

/* The first 8 bytes; 0: they couldn't be read. The kernel asks least of a read to the task's own stack, where since 6.13 only functions with less than 64 bytes of it are. */
__noinline __u64 first_bytes(__u64 address, __u32 length)
{
	__u64 words[OBSERVER_LOOK_AT_RECEIVE / 8] = {};

	if (length > OBSERVER_LOOK_AT_RECEIVE)
		length = OBSERVER_LOOK_AT_RECEIVE;
	barrier_var(length);
	if (length > OBSERVER_LOOK_AT_RECEIVE || bpf_probe_read_user(words, length, (void *)address))
		return 0;
	return words[0];
}

/* `most`: bytes that are looked at. */
static __always_inline int look(int ret, __u32 most, bool clock)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct observer_looked *sums;
	__u32 zero = 0;
	__u64 word;

	if (task->tgid != (int)options.tgid || ret <= 0 || !(sums = bpf_map_lookup_elem(&looked, &zero)))
		return 0;
	word = first_bytes(registers_of(task)->si, (__u32)ret < most ? ret : most);
	sums->calls += word != 0;
	sums->seen += word;
	if (clock)
		sums->seen += bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(look_at_receive, struct sock *sk, int ret, int flags)
{
	return look(ret, OBSERVER_LOOK_AT_RECEIVE, false);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(look_at_send, struct sock *sk, int ret, int flags)
{
	return look(ret, OBSERVER_LOOK_AT_SEND, true);
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(look_at_data, const struct sock *sk)
{
	return 0;
}

/* What the kernel's run-time statistics tell of a program that does nothing. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(nothing_at_receive, struct sock *sk, int ret, int flags)
{
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(nothing_at_send, struct sock *sk, int ret, int flags)
{
	return 0;
}
