// Three threads that wait in known places, and one that gets there by recursion.
#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

static volatile int sum;

__attribute__((noinline)) static void wait_here(void)
{
	for (;;) {
		pause();
		sum++;
	}
}

__attribute__((noinline)) static void outer(void)
{
	wait_here();
	sum++;
}

__attribute__((noinline)) static void recurse(int n)
{
	if (n)
		recurse(n - 1);
	else
		wait_here();
	sum++;
}

static void *run(void *name)
{
	prctl(PR_SET_NAME, name);
	if (*(char *)name == 'r')
		recurse(3);
	else
		outer();
	return 0;
}

int main(void)
{
	static char *names[] = { "worker-1", "worker-2", "recursion \"x\"; 7" };
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		pthread_create(threads + i, 0, run, names[i]);
	if (write(1, "ready\n", 6) == 6)
		pthread_join(threads[0], 0);
	return 0;
}
