#!/bin/sh
# perf 6.1 (Debian 12: linux-perf 6.1): `perf trace -s` leaves calls of new threads out of its table where the program runs on more than one CPU.
#
# Expected: all calls, or a word about those that are lost.
# Seen: of 8,000 calls of getppid by 8 threads, up to 400 are missing in most runs, and nothing is said to be lost. On one CPU none is missing.
# perf reads one CPU's buffer after the other's. It seems to meet the first calls of a thread before the thread's creation, which is in the other
# buffer, and then to begin that thread's counts anew. --sort-events makes it rarer.
#
# Why it matters: a comparison of other tools with perf's counts fails by chance. kiln counts in the kernel, without order.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
perf --version 2>/dev/null | grep -q '^perf version 6\.1\.' || { echo "needs perf 6.1 (Debian 12)"; exit 2; }
[ "$(nproc)" -gt 1 ] || { echo "needs two CPUs"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/threads.c" <<'EOF'
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *work(void *argument) {
    for (int i = 0; i < 1000; i++) syscall(SYS_getppid);
    usleep(20000);
    return 0;
}
int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, work, 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
}
EOF
cc -pthread -o "$folder/threads" "$folder/threads.c" || exit 2
# The sum of getppid in the table of one run, under the command of the arguments.
count() {
  "$@" perf trace -s -m 8M -o "$folder/table" "$folder/threads" || exit 2
  if grep -qi lost "$folder/table"; then echo "perf says that it lost events"; exit 1; fi
  awk '$1 == "getppid" { sum += $2 } END { print sum + 0 }' "$folder/table"
}
first=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
fewer=0
for run in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  one=$(count taskset -c "$first")
  all=$(count env)
  echo "8000 calls: $one on one CPU, $all on all"
  [ "$one" = 8000 ] || exit 1
  [ "$all" = 8000 ] || fewer=$((fewer + 1))
done
[ "$fewer" -gt 0 ]
