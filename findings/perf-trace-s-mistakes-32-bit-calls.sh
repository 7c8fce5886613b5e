#!/bin/sh
# perf 6.1 (Debian 12: linux-perf 6.1): `perf trace -s` counts a 32-bit call (int 0x80) as the 64-bit call of the same number, and has no row for
# rt_sigreturn.
#
# Expected: the calls under their own names, or under none. Numbers of the two tables differ: 20 is getpid there and writev here.
# Seen: 101 32-bit calls of getpid are 101 writev, which the program never calls. 53 returns from a signal are nowhere: rt_sigreturn leaves no number
# in the saved registers, where sys_exit looks for it.
#
# Why it matters: counts of a program with 32-bit code are of calls that it never made. kiln keeps the number of the entry, with its table.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
perf --version 2>/dev/null | grep -q '^perf version 6\.1\.' || { echo "needs perf 6.1 (Debian 12)"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/calls.c" <<'EOF'
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
static void handle(int number) {}
int main(void) {
    int result;
    for (int i = 0; i < 101; i++)
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20), "b"(0) : "memory", "r8", "r9", "r10", "r11");
    signal(SIGUSR1, handle);
    for (int i = 0; i < 53; i++) kill(getpid(), SIGUSR1);
}
EOF
cc -o "$folder/calls" "$folder/calls.c" || exit 2
perf trace -s -o "$folder/table" "$folder/calls" || exit 2
count() { awk -v name="$1" '$1 == name { sum += $2 } END { print sum + 0 }' "$folder/table"; }
echo "kill: $(count kill); writev, never called: $(count writev); rt_sigreturn, 53 times: $(count rt_sigreturn)"
[ "$(count kill)" = 53 ] && [ "$(count writev)" = 101 ] && [ "$(count rt_sigreturn)" = 0 ]
