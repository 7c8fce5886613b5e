// A function with two callers, recursion, and two that call each other.
static volatile long sum;

__attribute__((noinline)) static void leaf(int n)
{
	for (int i = 0; i < n; i++)
		sum += i;
}

__attribute__((noinline)) static void once(void)
{
	leaf(1000);
	sum++;
}

__attribute__((noinline)) static void thrice(void)
{
	leaf(3000);
	sum++;
}

__attribute__((noinline)) static int fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

__attribute__((noinline)) static void odd(int n);

__attribute__((noinline)) static void even(int n)
{
	if (n)
		odd(n - 1);
	sum++;
}

__attribute__((noinline)) static void odd(int n)
{
	if (n)
		even(n - 1);
	sum++;
}

int main(void)
{
	once();
	thrice();
	sum += fib(12);
	even(9);
	return 0;
}
