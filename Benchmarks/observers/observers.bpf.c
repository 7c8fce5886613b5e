/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What kiln is held against: an observer whose cost is known, and one that ships an event for each receive. Either runs alone. */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "include/observers.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BPF_MAP_TYPE_PERF_EVENT_ARRAY 4
#define BPF_F_CURRENT_CPU 0xffffffffULL
#define MSG_PEEK 2
#define MOST_TURNS (1 << 20)

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

/* Ships the beginning of what each receive brought. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(ship, struct sock *sk, int ret, int flags)
{
	const struct pt_regs *regs;
	struct observer_event *event;
	__u32 zero = 0, length;

	if (!is_target() || ret <= 0 || flags & MSG_PEEK)
		return 0;
	event = bpf_map_lookup_elem(&scratch, &zero);
	if (!event)
		return 0;
	regs = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	event->time_ns = bpf_ktime_get_ns();
	event->length = ret;
	event->tgid = options.tgid;
	length = ret < OBSERVER_PAYLOAD ? ret : OBSERVER_PAYLOAD;
	if (bpf_probe_read_user(event->payload, length, (void *)regs->si))
		return 0;
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof *event);
	return 0;
}
