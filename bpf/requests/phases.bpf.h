/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a command's time goes: its histograms, and when its execution ends.
 *
 * The main thread of a process executes. An execution ends at its next receive or where its next send begins, whichever comes first. Only
 * what is certain is noted:
 *
 * - an end that lies in a later turn of the event loop (turns.bpf.h) is none: the thread has waited for events meanwhile;
 * - a reply whose first byte leaves in a later turn was not produced by the execution that was seen: the command was paused, blocked by a
 *   module, or interrupted by the server's own event loop;
 * - while other threads receive (io-threads), the main thread may execute what they read between two of its own events. */
#ifndef KILN_PHASES_BPF_H
#define KILN_PHASES_BPF_H

#include "common/bpf.h"
#include "common/targets.bpf.h"
#include "requests/control.bpf.h"
#include "requests/connections.bpf.h"
#include "requests/losses.bpf.h"
#include "requests/response_reader.bpf.h"
#include "requests/turns.bpf.h"
#include "requests/watch.bpf.h"
#include "work/decisions.bpf.h"

/* Key: row; value: its counts and histograms, one for each CPU. User space shrinks it to its memory ceiling. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KILN_COMMAND_CAPACITY);
	__type(key, __u32);
	__type(value, struct kiln_command_stats);
} command_stats SEC(".maps");

static __always_inline void add_latency(struct kiln_command_stats *stats, enum kiln_phase phase, __u64 latency_ns, __u32 count)
{
	struct kiln_latency_sum *sum = &stats->sums[phase];
	__u32 slot = kiln_histogram_slot(latency_ns);

	sum->sum_ns += latency_ns * count;
	if (latency_ns > sum->max_ns)
		sum->max_ns = latency_ns;
	barrier_var(slot); /* the verifier follows what comes once, not for each kind of slot */
	if (slot <= KILN_HISTOGRAM_OVERFLOW_SLOT)
		stats->slots[phase][slot] += count;
}

/* ---- execution --------------------------------------------------------------------------------------------- */

/* What a thread's scheduler has counted of it. */
struct thread_counts {
	__u64 switches;     /* voluntary context switches */
	__u64 run_delay_ns; /* time in the run queue */
};

#define SPANS 256           /* a power of two */
#define SPAN_LEAST_NS 20000 /* executions that others notice */
#define LATE_LEAST_NS 1000000
#define WAIT_LEAST_NS 50000 /* waits that are attributed */

/* An execution that took long. Where the turn of the event loop has changed before its end was seen, the thread may have waited for
 * events: but then what arrives wakes it, so that a wait of a millisecond beyond the run queue's share still has this cause. */
struct span {
	__u64 start_ns, end_ns;
	__u64 run_delay_ns;
	__u32 command;
	__u32 late;
};

#define OTHERS_STEP_NS 100000000ULL /* how exactly that receive's time is kept: other threads seldom write it */
#define SAME_TURN_GAP_NS 1000000    /* between sends of one turn, where turns are not seen */

/* The thread of a process that executes commands, and the command it executes. */
struct executor {
	__u64 id;                    /* of the connection whose command it executes; 0: none */
	__u64 received_ns;           /* when it was read */
	struct thread_counts thread; /* at the last receive; its switches at the last receive or send */
	__u64 event_ns;              /* when that was */
	__u64 turn_ns;               /* where turns are not seen: what was received until then came in an earlier turn, or may have */
	__u64 others_ns;             /* when another thread of the process last received, to within OTHERS_STEP_NS; 0: none has */
	__u32 tid;                   /* of the main thread, once it has received */
	__u32 command;               /* row, or KILN_SEVERAL_COMMANDS */
	__u32 sent;                  /* it has sent since its last receive */
	__u32 spans_noted;
	__u32 window; /* in which it received or sent last */
	__u32 reserved;
	__u64 last_span_end_ns;
	struct span spans[SPANS]; /* the last ones, taken modulo SPANS */
};

/* Key: process. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KILN_MAX_TARGETS);
	__type(key, __u32);
	__type(value, struct executor);
} executors SEC(".maps");

static __always_inline struct executor *executor_of(__u32 process)
{
	return bpf_map_lookup_elem(&executors, &process);
}

/* Whether what was received at `received_ns` came in an earlier turn than the present one, or may have. */
static __always_inline bool turn_is_later(const struct executor *e, __u32 process, __u64 received_ns)
{
	const struct kiln_turn *turn = bpf_map_lookup_elem(&turns, &process);

	return (turn && turn->known ? turn->began_ns : e->turn_ns) >= received_ns;
}

/* No other thread of the process has received for so long that the main thread has executed what they read. */
static __always_inline bool executes_alone(const struct executor *e, __u64 now)
{
	return now - e->others_ns >= OTHERS_QUIET_NS;
}

static __always_inline void note_span(struct executor *e, __u64 end_ns, __u64 run_delay_ns, bool late)
{
	__u32 at = e->spans_noted, last = at - 1;
	struct span *span;

	if (end_ns < e->received_ns + (late ? LATE_LEAST_NS : SPAN_LEAST_NS))
		return;
	/* Executions of one command without a break between them are one: all that is asked is how much of a time they fill. */
	barrier_var(last);
	span = &e->spans[last & (SPANS - 1)];
	if (at && !late && span->end_ns == e->received_ns && span->command == e->command && !span->late) {
		span->end_ns = e->last_span_end_ns = end_ns;
		return;
	}
	e->spans_noted = at + 1;
	e->last_span_end_ns = end_ns;
	barrier_var(at);
	span = &e->spans[at & (SPANS - 1)];
	span->start_ns = e->received_ns;
	span->end_ns = end_ns;
	span->run_delay_ns = run_delay_ns;
	span->command = e->command;
	span->late = late;
}

/* The main thread's execution has ended, as far as can be seen. `x`: its connection, or NULL. */
static __always_inline void execution_ends(struct executor *e, struct connection *x, __u32 process, __u64 end_ns, __u64 run_delay_ns)
{
	bool late = turn_is_later(e, process, e->received_ns);

	e->id = 0;
	if (!executes_alone(e, end_ns))
		return;
	/* Not answered in its turn: paused, or blocked. Nobody waited for it. */
	if (late && x && x->waiting != WAITING_NONE && x->received_ns == e->received_ns)
		return;
	note_span(e, end_ns, run_delay_ns, late);
	if (late || !x || x->waiting != WAITING_ONE || x->received_ns != e->received_ns || end_ns < x->received_ns)
		return;
	x->executed_ns = end_ns;
	x->run_queue_ns = run_delay_ns < ~0U ? run_delay_ns : ~0U;
}

/* A thread that executes nothing has received. */
static __noinline void other_thread_receives(struct executor *e, __u32 process, __u64 now)
{
	if (now - e->others_ns < OTHERS_STEP_NS)
		return;
	e->others_ns = now;
	others_receive(process, now);
	__sync_fetch_and_or(&control.several_threads, 1U << (process & 31));
}

/* What was executed when the programs were detached has ended unseen, and turns have passed. */
static __noinline void restart_executor(struct executor *e, __u32 process, __u64 now)
{
	e->window = control.watch.window;
	e->id = 0;
	e->event_ns = e->turn_ns = now;
	if (control.several_threads & 1U << (process & 31))
		e->others_ns = now;
}

/* A thread of a process has received or sent: perhaps for the first time in this window. */
static __always_inline void begin_window(struct executor *e, __u32 process, __u64 now)
{
	if (may_leave_out() && e->window != control.watch.window)
		restart_executor(e, process, now);
}

/* A thread of a process has received: what it executed has ended. `now`: when it turned to the receive, `received_ns`: when that returned.
 * Returns whether it executes what it has received, and nothing else in between. */
static __always_inline bool thread_receives(
	struct executor *e, __u32 process, const struct task_struct *task, const struct thread_counts *thread, __u64 now, __u64 received_ns)
{
	begin_window(e, process, now);
	if (task->pid != task->tgid) {
		other_thread_receives(e, process, now);
		return false;
	}
	e->tid = task->pid;
	/* A server reads what has come, and then writes what it owes. */
	if (e->sent || thread->switches != e->thread.switches)
		e->turn_ns = e->event_ns;
	if (e->id)
		execution_ends(e, find_connection(e->id), process, now, thread->run_delay_ns - e->thread.run_delay_ns);
	e->thread = *thread;
	e->event_ns = received_ns;
	e->sent = 0;
	return executes_alone(e, received_ns);
}

/* It executes what it has just received. */
static __always_inline void execution_begins(struct executor *e, const struct connection *x, __u32 command)
{
	e->id = x->id;
	e->received_ns = x->received_ns;
	e->command = command;
}

/* A send of `x`, mostly the reply to what was executed, began at `begin_ns` (0: not known) and has returned. Other threads may write
 * what the main thread has executed: their sends end nothing, because it may be executing something else by then. */
static __always_inline void process_sends(struct connection *x, const struct task_struct *task, __u64 begin_ns, __u64 returned_ns)
{
	struct executor *e = executor_of(x->process);

	if (!e)
		return;
	begin_window(e, x->process, returned_ns);
	if (e->tid == (__u32)task->pid) {
		__u64 switches = task->nvcsw;

		if (switches != e->thread.switches || (e->sent && begin_ns > e->event_ns + SAME_TURN_GAP_NS))
			e->turn_ns = e->event_ns;
		if (e->id && begin_ns > e->received_ns)
			execution_ends(e, e->id == x->id ? x : find_connection(e->id), x->process, begin_ns,
				task->sched_info.run_delay - e->thread.run_delay_ns);
		e->id = 0;
		e->thread.switches = switches;
		e->event_ns = returned_ns;
		e->sent = 1;
	}
	/* The first byte of its reply. Other threads may have begun to receive since its execution seemed to end. */
	if (x->waiting == WAITING_ONE && x->executed_ns && !(x->flags & IN_REPLY) &&
		(turn_is_later(e, x->process, x->received_ns) || !executes_alone(e, returned_ns)))
		x->executed_ns = 0;
}

/* ---- blocking ------------------------------------------------------------------------------------------------ */

/* Key: struct kiln_wait_key; value: struct kiln_wait. Full: waits_without_name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_WAIT_CAPACITY);
	__type(key, struct kiln_wait_key);
	__type(value, struct kiln_wait);
} waits SEC(".maps");

/* Commands of one receive that waited, or that were executed meanwhile. */
struct wait_party {
	__u32 command;
	__u32 reserved;
	__u64 amount; /* how many waited, or for how long one was executed (ns); 0: free */
};

#define WAIT_PARTIES 8 /* different commands; of more, the rest are one, `other` */

struct wait_parties {
	struct wait_party blocked[WAIT_PARTIES], blockers[WAIT_PARTIES];
};

/* Scratch, one for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wait_parties);
} wait_scratch SEC(".maps");

static __always_inline void note_party(struct wait_party *parties, __u32 command, __u64 amount, __u32 other)
{
	__u32 i;

	for (i = 0; i < WAIT_PARTIES - 1; i++) {
		if (parties[i].amount && parties[i].command != command)
			continue;
		parties[i].command = command;
		parties[i].amount += amount;
		return;
	}
	parties[i].command = other;
	parties[i].amount += amount;
}

struct blocking_context {
	struct executor *executor;
	struct request_reader *reader;
	struct wait_parties *parties;
	__u64 from_ns, to_ns;
	bool complete; /* all executions that fell into the wait are still known */
};

static long note_blocker(__u32 index, struct blocking_context *context)
{
	struct executor *e = context->executor;
	struct request_reader *r = context->reader;
	__u32 at = e->spans_noted - 1 - index;
	struct span *span;
	__u64 from, to;

	barrier_var(at);
	span = &e->spans[at & (SPANS - 1)];
	if (index >= e->spans_noted || span->end_ns <= context->from_ns) {
		context->complete = true;
		return 1; /* those before ended earlier still */
	}
	from = span->start_ns > context->from_ns ? span->start_ns : context->from_ns;
	to = span->end_ns < context->to_ns ? span->end_ns : context->to_ns;
	if (to > from && (!span->late || to - from >= span->run_delay_ns + LATE_LEAST_NS))
		note_party(context->parties->blockers, span->command, to - from, r->process);
	return 0;
}

static long note_blocked(__u32 index, struct blocking_context *context)
{
	struct request_reader *r = context->reader;
	struct request_run *run;

	barrier_var(index);
	run = &r->runs[index & (RUNS_MAX - 1)];
	note_party(context->parties->blocked, run->command, run->count, r->process);
	return 0;
}

static __always_inline void add_wait(const struct kiln_wait_key *key, __u64 times, __u64 wait_ns)
{
	struct kiln_wait *wait = bpf_map_lookup_elem(&waits, key), first = { times, wait_ns };

	if (!wait && !bpf_map_update_elem(&waits, key, &first, BPF_NOEXIST))
		return;
	if (!wait)
		wait = bpf_map_lookup_elem(&waits, key);
	if (wait) {
		__sync_fetch_and_add(&wait->times, times);
		__sync_fetch_and_add(&wait->wait_ns, wait_ns);
	} else {
		lose(KILN_LOST_WAITS_WITHOUT_NAME, times);
	}
}

static long add_waits(__u32 index, struct blocking_context *context)
{
	struct wait_parties *parties = context->parties;
	struct kiln_wait_key key = { .process = context->reader->process };
	struct wait_party *blocked;
	__u32 i;

	barrier_var(index);
	blocked = &parties->blocked[index & (WAIT_PARTIES - 1)];
	if (!blocked->amount)
		return 1;
	key.blocked = blocked->command;
	for (i = 0; i < WAIT_PARTIES; i++) {
		if (!parties->blockers[i].amount)
			break;
		key.blocker = parties->blockers[i].command;
		add_wait(&key, blocked->amount, blocked->amount * parties->blockers[i].amount);
	}
	return 0;
}

/* Attribute the time that the commands of a receive waited in their socket to the commands that were executed meanwhile. */
__noinline int attribute_waits(struct request_reader *r, __u64 arrived_ns, __u64 received_ns)
{
	struct blocking_context context = { .reader = r, .from_ns = arrived_ns, .to_ns = received_ns };
	__u32 zero = 0, process;

	if (!r)
		return 0;
	process = r->process;
	context.executor = executor_of(process);
	context.parties = bpf_map_lookup_elem(&wait_scratch, &zero);
	if (!context.executor || !context.parties)
		return 0;
	__builtin_memset(context.parties, 0, sizeof *context.parties);
	bpf_loop(SPANS, note_blocker, &context, 0);
	if (!context.complete && context.executor->spans_noted > SPANS)
		lose(KILN_LOST_WAITS_WITHOUT_NAME, r->commands_noted + r->run_count);
	if (!context.parties->blockers[0].amount)
		return 0;
	if (r->runs_noted)
		bpf_loop(r->runs_noted, note_blocked, &context, 0);
	note_party(context.parties->blocked, r->run_command, r->run_count, process);
	bpf_loop(WAIT_PARTIES, add_waits, &context, 0);
	return 0;
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

/* Key: struct kiln_error_key. Full: errors_without_name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_ERROR_CAPACITY);
	__type(key, struct kiln_error_key);
	__type(value, __u64);
} errors SEC(".maps");

/* The reply of the one command that waits has been handed over. */
static __always_inline void record_answer(struct connection *x, __u64 sent_ns, __u64 bytes, bool is_error)
{
	__u32 command = x->command, row = command & ~QUEUED;
	struct kiln_command_stats *stats = bpf_map_lookup_elem(&command_stats, &row);
	__u64 received_ns = x->received_ns, executed_ns = x->executed_ns;
	__u8 class = row_class(row);

	x->waiting = WAITING_NONE;
	if (!stats)
		return;
	if (is_error)
		stats->errors++;
	/* A send that began before this command was read, on another thread, doesn't answer it. */
	if (class == KILN_CLASS_UNTIMED || sent_ns < received_ns)
		return;
	if (bytes > stats->reply_bytes_max)
		stats->reply_bytes_max = bytes;
	if (class == KILN_CLASS_BLOCKING && command & QUEUED)
		return;
	add_latency(stats, KILN_PHASE_SERVICE, sent_ns - received_ns, 1);
	if (class == KILN_CLASS_BLOCKING)
		return;
	if (executed_ns && executed_ns <= sent_ns) {
		add_latency(stats, KILN_PHASE_EXEC, executed_ns - received_ns, 1);
		add_latency(stats, KILN_PHASE_REPLY, sent_ns - executed_ns, 1);
		stats->run_queue_ns += x->run_queue_ns;
	}
	if (x->arrived_ns) /* not after received_ns */
		add_latency(stats, KILN_PHASE_TOTAL, sent_ns - x->arrived_ns, 1);
}

/* The replies of equal commands of a pipeline have been handed over. `largest`: bytes, if it is one of them that is the send's largest. */
static __always_inline void record_answers(
	__u32 row, bool queued, __u32 count, const struct batch *batch, __u64 sent_ns, bool are_errors, __u64 largest)
{
	struct kiln_command_stats *stats = bpf_map_lookup_elem(&command_stats, &row);
	__u8 class = row_class(row);

	if (!stats)
		return;
	if (are_errors)
		stats->errors += count;
	if (class == KILN_CLASS_UNTIMED || sent_ns < batch->received_ns)
		return;
	if (largest > stats->reply_bytes_max)
		stats->reply_bytes_max = largest;
	if (class == KILN_CLASS_BLOCKING && queued)
		return;
	add_latency(stats, KILN_PHASE_SERVICE, sent_ns - batch->received_ns, count);
	if (batch->arrived_ns && class != KILN_CLASS_BLOCKING)
		add_latency(stats, KILN_PHASE_TOTAL, sent_ns - batch->arrived_ns, count);
}

/* The replies of all commands of the run that waits have been handed over, and none is an error. */
static __always_inline void record_run(struct connection *x, __u64 largest)
{
	struct batch came = { .received_ns = x->received_ns, .arrived_ns = x->arrived_ns };

	x->waiting = WAITING_NONE;
	record_answers(command_in_flight(x), false, x->run_count, &came, x->sent_ns, false, largest);
}

/* An error reply, or an error inside a reply, of a command. */
__noinline int record_error(__u32 process, __u32 row, const struct response_error *error)
{
	struct kiln_error_key key = {};
	__u64 one = 1, *count;

	if (!error)
		return 0;
	__builtin_memcpy(key.word, error->word, sizeof key.word);
	key.process = process;
	key.command = row;
	count = bpf_map_lookup_elem(&errors, &key);
	if (!count && bpf_map_update_elem(&errors, &key, &one, BPF_NOEXIST) == 0)
		return 0;
	if (!count)
		count = bpf_map_lookup_elem(&errors, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		lose(KILN_LOST_ERRORS_WITHOUT_NAME, 1);
	return 0;
}

#endif
