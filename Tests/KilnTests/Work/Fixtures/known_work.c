/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A module of a Redis server whose commands do what is known: how long each computes or waits, and in which function.
 *
 *   BURN.A usec, BURN.B usec   that much CPU time of the thread, in burn_a or burn_b
 *   FAIL usec                  likewise in burn_failing; its reply is an error
 *   LOCK.WAIT                  takes a lock, in wait_for_lock, that another thread holds for 5 ms out of every 10
 *   BRANCH 1, BRANCH 0         2 ms of CPU time in slow_branch, or 100 us in fast_branch */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* The part of the modules' API that is needed here, after its public reference. A context begins with the function that finds the others. */
typedef struct context context;
typedef struct string string;
typedef int command(context *, string **, int);

enum { SUCCESS = 0, FAILURE = 1, API_VERSION = 1 };

static int (*set_attributes)(context *, const char *name, int version, int api_version);
static int (*create_command)(context *, const char *name, command *, const char *flags, int first_key, int last_key, int step);
static int (*string_to_number)(const string *, long long *);
static int (*reply_with_number)(context *, long long);
static int (*reply_with_error)(context *, const char *);

static long cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* Mostly of user code: the clock is a system call on some machines. */
#define BURN(name) \
	__attribute__((noinline)) static void name(long long usec) \
	{ \
		long end = cpu_ns() + usec * 1000; \
\
		while (cpu_ns() < end) \
			for (int turn = 0; turn < 2000; turn++) \
				__asm__ volatile(""); \
	}
BURN(burn_a)
BURN(burn_b)
BURN(burn_failing)
BURN(slow_branch)
BURN(fast_branch)

static int argument(context *c, string **words, int count, long long *number)
{
	if (count == 2 && string_to_number(words[1], number) == SUCCESS)
		return SUCCESS;
	reply_with_error(c, "ERR one number is expected");
	return FAILURE;
}

static int burn_a_command(context *c, string **words, int count)
{
	long long usec;

	if (argument(c, words, count, &usec) != SUCCESS)
		return SUCCESS;
	burn_a(usec);
	return reply_with_number(c, usec);
}

static int burn_b_command(context *c, string **words, int count)
{
	long long usec;

	if (argument(c, words, count, &usec) != SUCCESS)
		return SUCCESS;
	burn_b(usec);
	return reply_with_number(c, usec);
}

static int fail_command(context *c, string **words, int count)
{
	long long usec;

	if (argument(c, words, count, &usec) != SUCCESS)
		return SUCCESS;
	burn_failing(usec);
	return reply_with_error(c, "KNOWN error");
}

static int branch_command(context *c, string **words, int count)
{
	long long slow;

	if (argument(c, words, count, &slow) != SUCCESS)
		return SUCCESS;
	if (slow)
		slow_branch(2000);
	else
		fast_branch(100);
	return reply_with_number(c, slow);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *hold_lock(void *nothing)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		usleep(5000);
		pthread_mutex_unlock(&lock);
		usleep(5000);
	}
	return nothing;
}

__attribute__((noinline)) static void wait_for_lock(void)
{
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	__asm__ volatile(""); /* a frame of its own */
}

static int lock_command(context *c, string **words, int count)
{
	static pthread_t holder;

	(void)words, (void)count;
	if (!holder)
		pthread_create(&holder, NULL, hold_lock, NULL);
	wait_for_lock();
	return reply_with_number(c, 1);
}

int RedisModule_OnLoad(context *c, string **words, int count)
{
	int (*find)(const char *name, void *function) = *(int (**)(const char *, void *))c;

	(void)words, (void)count;
	if (find("RedisModule_SetModuleAttribs", &set_attributes) || find("RedisModule_CreateCommand", &create_command) ||
		find("RedisModule_StringToLongLong", &string_to_number) || find("RedisModule_ReplyWithLongLong", &reply_with_number) ||
		find("RedisModule_ReplyWithError", &reply_with_error))
		return FAILURE;
	set_attributes(c, "known-work", 1, API_VERSION);
	if (create_command(c, "burn.a", burn_a_command, "", 0, 0, 0) || create_command(c, "burn.b", burn_b_command, "", 0, 0, 0) ||
		create_command(c, "fail", fail_command, "", 0, 0, 0) || create_command(c, "branch", branch_command, "", 0, 0, 0) ||
		create_command(c, "lock.wait", lock_command, "", 0, 0, 0))
		return FAILURE;
	return SUCCESS;
}
