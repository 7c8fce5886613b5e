#!/bin/sh
# Linux 6.18 (x86-64): a uprobe is refused on some vector instructions and taken on others that are alike.
#
# Expected: a uprobe stands on vpxor as on vpaddd; both read and write registers only.
# Seen: ENOTSUPP (524) for vpxor, vmovdqa and vmovd. arch/x86/kernel/uprobes.c looks the opcode byte behind a VEX or EVEX prefix up in its table
# of one-byte opcodes: vpxor is ef, as `out %eax,(%dx)`, which it refuses; vpaddd is fe, as `incb`, which it takes. The same instructions of
# SSE, without the prefix, are taken.
#
#   vpaddd 0, vpxor 524, vmovdqa 524, vmovd 524, pxor 0
#
# Why it matters: memset, strcmp and strchr of the C library for AVX2 begin with such an instruction and can't be probed; uprobe_multi refuses a
# whole link for one of them.
# Needs root and gcc. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 2; }
echo "Linux $(uname -r)"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/probe.c" <<'EOF'
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct { const char *name; unsigned char code[5]; } all[] = {
	{ "vpaddd", { 0xc5, 0xf9, 0xfe, 0xc0, 0xc3 } }, { "vpxor", { 0xc5, 0xf9, 0xef, 0xc0, 0xc3 } },
	{ "vmovdqa", { 0xc5, 0xf9, 0x6f, 0xc0, 0xc3 } }, { "vmovd", { 0xc5, 0xf9, 0x6e, 0xc0, 0xc3 } }, { "pxor", { 0x66, 0x0f, 0xef, 0xc0, 0xc3 } },
};

int main(int argc, char **argv)
{
	static unsigned char page[4096];
	int type, file = open(argv[1], O_RDWR | O_CREAT, 0700);
	FILE *known = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	unsigned i;

	for (i = 0; i < 5; i++)
		memcpy(page + 64 * i, all[i].code, 5);
	if (!known || fscanf(known, "%d", &type) != 1 || write(file, page, 4096) != 4096 ||
		mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED)
		return 2;
	for (i = 0; i < 5; i++) {
		struct perf_event_attr probe = { .type = type, .size = sizeof(probe), .config1 = (unsigned long)argv[1], .config2 = 64 * i };
		int event = syscall(SYS_perf_event_open, &probe, 0, -1, -1, 0);

		printf("%s%s %d", i ? ", " : "", all[i].name, event < 0 ? errno : 0);
		close(event);
	}
	puts("");
	return 0;
}
EOF
gcc -o "$folder/probe" "$folder/probe.c" || exit 2
seen=$("$folder/probe" "$folder/code") || { echo "no uprobes here"; exit 2; }
echo "$seen"
[ "$seen" = "vpaddd 0, vpxor 524, vmovdqa 524, vmovd 524, pxor 0" ]
