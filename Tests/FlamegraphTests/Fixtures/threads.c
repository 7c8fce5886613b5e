// Nine threads whose names are hard to tell from what perf prints around them. They compute, call the kernel and touch new pages.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static char *names[] = { "C2 CompilerThre", "DB writer", "worker 7", "ad", "a 12/34 5.6: b", " lead", "7", "123 456 7", "" };
static volatile unsigned long sum;

__attribute__((noinline)) static void compute(void)
{
	for (unsigned long i = 0; i < 20000000; i++)
		sum += i * i;
}

__attribute__((noinline)) static void call_kernel(void)
{
	int ends[2];
	char byte = 1;

	if (pipe(ends))
		return;
	for (int i = 0; i < 3000; i++)
		if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
			break;
	close(ends[0]);
	close(ends[1]);
}

__attribute__((noinline)) static void touch_pages(void)
{
	char *pages = mmap(0, 1 << 21, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return;
	for (int i = 0; i < 1 << 21; i += 4096)
		pages[i] = 1;
	munmap(pages, 1 << 21);
}

static void *run(void *name)
{
	prctl(PR_SET_NAME, name);
	for (int i = 0; i < 3; i++) {
		compute();
		call_kernel();
		touch_pages();
		usleep(1000);
	}
	return 0;
}

int main(void)
{
	pthread_t threads[9];

	for (int i = 0; i < 9; i++)
		pthread_create(threads + i, 0, run, names[i]);
	for (int i = 0; i < 9; i++)
		pthread_join(threads[i], 0);
}
