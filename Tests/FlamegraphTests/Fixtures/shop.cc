// The program of Fixtures/formats/bpftrace*.txt, with its name as argument: g++ -O1 -fno-omit-frame-pointer -o shop shop.cc
#include <unistd.h>
#include <fcntl.h>
#include <sys/prctl.h>
static volatile unsigned long sum;
namespace shop
{
struct Order {
	__attribute__((noinline)) void check(int n, const char *)
	{
		for (long i = 0; i < 20000 * n; i++)
			sum += i * i;
		sum++;
	}
};
template <class T> __attribute__((noinline)) void store(T value)
{
	int fd = open("/dev/zero", O_RDONLY);
	static char buf[1 << 20];
	if (read(fd, buf, sizeof buf) < 0)
		sum++;
	close(fd);
	sum += value;
}
__attribute__((noinline)) void turn(int n)
{
	Order().check(n, "");
	store<unsigned long>(n);
	sum++;
}
} // namespace shop
int main(int, char **argv)
{
	prctl(PR_SET_NAME, argv[1]);
	for (;;) {
		shop::turn(7);
		sum++;
		usleep(200);
	}
}
