// Known numbers of calls of known functions, and times by the program's own clock: a line `NAME NANOSECONDS` for each function that it times.
#include <coroutine>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <stdexcept>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <vector>

#define FUNCTION extern "C" __attribute__((noinline, noclone))
#define KEEP asm volatile("" ::: "memory")

static long long now()
{
	timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

// Not a function of its own: what is timed makes no other call.
#define SPIN(ns) for (long long end = now() + (ns); now() < end;) KEEP

static jmp_buf back;

FUNCTION int recursive(int depth)
{
	if (!depth) {
		SPIN(20000000);
		return 0;
	}
	int below = recursive(depth - 1);
	KEEP;
	return below + 1;
}

FUNCTION int odd(int n);
FUNCTION int even(int n)
{
	if (!n)
		return 1;
	int result = odd(n - 1);
	KEEP;
	return result;
}
FUNCTION int odd(int n)
{
	if (!n) {
		SPIN(5000000);
		return 0;
	}
	int result = even(n - 1);
	KEEP;
	return result;
}

FUNCTION int jumps(int depth)
{
	if (!depth)
		longjmp(back, 1);
	int below = jumps(depth - 1);
	KEEP;
	return below + 1;
}

FUNCTION int throws(int depth)
{
	if (!depth)
		throw std::runtime_error("");
	int below = throws(depth - 1);
	KEEP;
	return below + 1;
}

FUNCTION int catches(int times)
{
	int caught = 0;
	for (int i = 0; i < times; i++) {
		try {
			throws(20);
		} catch (std::runtime_error &) {
			caught++;
		}
	}
	SPIN(10000000);
	return caught;
}

FUNCTION int second(int n)
{
	SPIN(1000000);
	return n * 3;
}
FUNCTION int first(int n)
{
	SPIN(1000000);
	return second(n + 1); // a tail call
}

FUNCTION int inner(int n)
{
	SPIN(300000);
	return n;
}
FUNCTION int outer(int n)
{
	int sum = 0;
	for (int i = 0; i < 10; i++)
		sum += inner(i);
	SPIN(2000000);
	return sum + n;
}

template <int N> __attribute__((noinline)) int templated(int n)
{
	KEEP;
	return n + N;
}

FUNCTION int threaded(int n)
{
	KEEP;
	return n + 1;
}

// Two coroutines with stacks of their own.
static ucontext_t main_context, fibers[2];
FUNCTION void in_fiber(int fiber)
{
	swapcontext(&fibers[fiber], &main_context);
	KEEP;
}
static void run_fiber(int fiber)
{
	for (int i = 0; i < 11; i++)
		in_fiber(fiber);
}

// And one without.
struct Steps {
	struct promise_type {
		int value = 0;
		Steps get_return_object() { return { std::coroutine_handle<promise_type>::from_promise(*this) }; }
		std::suspend_always initial_suspend() { return {}; }
		std::suspend_always final_suspend() noexcept { return {}; }
		std::suspend_always yield_value(int next)
		{
			value = next;
			return {};
		}
		void return_void() {}
		void unhandled_exception() { abort(); }
	};
	std::coroutine_handle<promise_type> handle;
};
FUNCTION int in_coroutine(int n)
{
	KEEP;
	return n + 1;
}
static Steps steps(int count)
{
	for (int i = 0; i < count; i++)
		co_yield in_coroutine(i);
}

#define TIMED(name, work) \
	do { \
		long long began = now(); \
		work; \
		printf("%s %lld\n", name, now() - began); \
	} while (0)

int main()
{
	TIMED("recursive", recursive(10000));
	TIMED("even", even(101));
	for (volatile int i = 0; i < 31; i = i + 1)
		if (!setjmp(back))
			jumps(50);
	if (!setjmp(back))
		jumps(10000);
	TIMED("catches", catches(17));
	TIMED("first", for (int i = 0; i < 13; i++) first(i));
	TIMED("outer", for (int i = 0; i < 11; i++) outer(i));
	for (int i = 0; i < 101; i++)
		templated<1>(i);
	for (int i = 0; i < 103; i++)
		templated<2>(i);
	std::vector<std::thread> threads;
	for (int i = 0; i < 16; i++)
		threads.emplace_back([] {
			for (int k = 0; k < 211; k++)
				threaded(k);
		});
	for (auto &thread : threads)
		thread.join();
	for (int i = 0; i < 2; i++) {
		// Pages without access around each stack.
		char *area = (char *)mmap(nullptr, 3 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(area + (1 << 16), 1 << 16, PROT_READ | PROT_WRITE);
		getcontext(&fibers[i]);
		fibers[i].uc_stack.ss_sp = area + (1 << 16);
		fibers[i].uc_stack.ss_size = 1 << 16;
		fibers[i].uc_link = &main_context;
		makecontext(&fibers[i], (void (*)())run_fiber, 1, i);
	}
	for (int k = 0; k < 12; k++)
		for (int i = 0; i < 2; i++)
			swapcontext(&main_context, &fibers[i]);
	Steps all = steps(37);
	while (!all.handle.done())
		all.handle.resume();
	all.handle.destroy();
	return 0;
}
