#!/bin/busybox sh
# The first and only process of a guest: checks kiln on this kernel with small loads. What it finds goes, line by line, to the
# second serial port: subject, check, result, words; separated by tabs.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
stty -F /dev/ttyS1 raw 2>/dev/null
ip link set lo up
ulimit -n 4096

result() { printf '%s\t%s\t%s\t%s\n' "$@" >/dev/ttyS1; }
finish() {
  result guest end done "$(cut -d' ' -f1 /proc/uptime) s"
  poweroff -f
}

result guest boot done "$(uname -r)"
grep -q kiln.only_boot /proc/cmdline && finish
cd /tmp

# A session.json as lines `path value`, a line each number or string.
flatten() {
  awk '{
    depth = (match($0, /[^ ]/) - 1) / 2
    if (match($0, /"[^"]*" : /)) { name[depth] = substr($0, RSTART + 1, RLENGTH - 5); value = substr($0, RSTART + RLENGTH) } else next
    if (value ~ /^[{[]$/) next
    path = name[1]
    for (i = 2; i <= depth; i++) path = path "/" name[i]
    sub(/,$/, "", value)
    print path, value
  }' "$1"
}

# Calls by command as the server counts them, and as kiln does.
server_counts() {
  redis-cli info commandstats | tr -d '\r' | sed -n 's/^cmdstat_\([^:|]*\)\(|[^:]*\)\{0,1\}:calls=\([0-9]*\).*/\1\2 \3/p' |
    grep -v -e '^info ' -e '^config|resetstat ' | sed 's/|[^ ]*//' | awk '{ n[toupper($1)] += $2 } END { for (c in n) print c, n[c] }' | sort
}
kiln_counts() { flatten "$1/session.json" | sed -n 's|^commands/\([^/]*\)/count \([0-9]*\)$|\1 \2|p' | grep -v '^INFO ' | sort; }

# Run kiln with the given arguments while $load runs; what it says is in /tmp/said, its session in /tmp/session.
session() {
  rm -rf session said
  kiln redis -p "$server" -o session "$@" >shown 2>said &
  kiln=$!
  until grep -q ': attached to' said || ! kill -0 $kiln 2>/dev/null; do sleep 0.1; done
  if ! grep -q ': attached to' said; then
    wait $kiln
    return 1
  fi
  eval "$load" >loaded 2>&1 || { echo "the load failed: $(tail -n 1 loaded)" >said; kill $kiln; wait $kiln; return 1; }
  kill -INT $kiln
  wait $kiln
}

# Exactly the server's counts, and nothing lost.
check_counts() {
  redis-cli config resetstat >/dev/null
  if ! session --hook "$1" -F 0 --no-syscalls; then
    result "hook $1" "$2" failed "$(head -n 1 said)"
    return
  fi
  server_counts >server
  kiln_counts session >counted
  lost=$(flatten session/session.json | grep '^lost/' | tr '\n' ' ')
  if cmp -s server counted && [ -z "$lost" ]; then
    result "hook $1" "$2" passed "$(tr '\n' ' ' <counted)"
  else
    result "hook $1" "$2" failed "kiln: $(tr '\n' ' ' <counted); server: $(tr '\n' ' ' <server); lost: $lost"
  fi
}

# What kiln finds here. A hook that doctor finds has to work; a program that the verifier rejects is a failure.
kiln doctor >doctor
awk -F '  +' '/^  (yes|no )  / { print $2 "\t" $3 "\t" $4 }' doctor | while IFS="$(printf '\t')" read -r present name words; do
  result capability "$name" "$present" "$words"
done
result doctor verdict "$(tail -n 1 doctor | grep -q 'can run here' && echo yes || echo no)" "$(tail -n 1 doctor)"
if grep -q '^       verifier: ' doctor; then
  result doctor 'verifier rejects nothing' failed "its last words are on the console"
  kiln doctor --json >/dev/console
fi

redis-server --port 6379 --unixsocket /tmp/redis.sock --save '' --appendonly no --enable-debug-command yes >redis.log 2>&1 &
server=$!
until [ -S /tmp/redis.sock ] && redis-cli ping 2>/dev/null | grep -q PONG; do
  kill -0 $server || { result guest redis failed "$(tail -n 1 redis.log)"; finish; }
  sleep 0.1
done

# Whether this kernel has what a hook stands on: asked of the kernel, so that a kiln that can't attach any more doesn't pass.
offers() {
  grep -q ' bpf_loop$' /proc/kallsyms || return 1
  [ "$1" != socket ] || grep -qa btf_trace_sock_recv_length /sys/kernel/btf/vmlinux
}

# check_refusal SUBJECT CHECK WORDS OPTIONS...: `kiln redis` says WORDS in one line, and fails.
check_refusal() {
  subject=$1 check=$2 words=$3
  shift 3
  kiln redis -p "$server" -d 1 -o refused "$@" >shown 2>said
  status=$?
  if [ $status = 1 ] && [ "$(wc -l <said)" = 1 ] && grep -q "$words" said && [ ! -e refused ]; then
    result "$subject" "$check" passed "$(cat said)"
  else
    result "$subject" "$check" failed "status $status: $(head -n 1 said)"
  fi
}

# Where a GET's time went: each has a service time, and the phases that the hook promises have samples.
check_phases() {
  for phase in service queue exec reply; do
    printf '%s %s ' $phase "$(flatten session/session.json | sed -n "s|^commands/GET/phases/$phase/count ||p")"
  done >phases
  promised='^service 1009 queue [1-9][0-9]* exec [1-9][0-9]* reply [1-9]'
  [ "$1" != syscall ] || promised='^service 1009 queue  exec [1-9][0-9]* reply [1-9]'
  result "hook $1" phases "$(grep -q "$promised" phases && echo passed || echo failed)" "$(cat phases)"
}

# Requests that come and go through io_uring.
check_io_uring() {
  io_uring_server 6390 >ring.log 2>&1 &
  ring=$!
  until grep -q ready ring.log; do
    kill -0 $ring 2>/dev/null || { result "hook $1" io_uring missing "$(tail -n 1 ring.log)"; return; }
    sleep 0.1
  done
  redis=$server
  server=$ring
  if load='redis-benchmark -p 6390 -q -t get -n 503 -c 1' session --hook "$1" -F 0 --no-syscalls; then
    counted=$(flatten session/session.json | sed -n 's|^commands/GET/phases/service/count ||p')
    lost=$(flatten session/session.json | grep '^lost/' | tr '\n' ' ')
    result "hook $1" io_uring "$([ "$counted$lost" = 503 ] && echo passed || echo failed)" "GET ${counted:-0} of 503, lost: ${lost:-nothing}"
  else
    result "hook $1" io_uring failed "$(head -n 1 said)"
  fi
  server=$redis
  kill $ring
}

# Of the samples in DIRECTORY/session.json, nearly all reach the outermost function: check_whole CHECK DIRECTORY
check_whole() {
  flatten "$2/session.json" | sed -n 's|^samples/on_cpu/\([a-z]*\) |\1 |p' >samples
  recorded=$(sed -n 's/^recorded //p' samples) complete=$(sed -n 's/^complete //p' samples)
  words="${complete:-0} of ${recorded:-0} whole; $(flatten "$2/session.json" | grep -e on_cpu/ends/ -e '^lost/' | tr '\n' ' ')"
  if [ "${recorded:-0}" -ge 100 ] && [ $((complete * 100)) -ge $((recorded * 99)) ]; then
    result stacks "$1" passed "$words"
  else
    result stacks "$1" failed "$words"
  fi
}

check_stacks() {
  if load='redis-benchmark -q -t set,get -n 10007 -c 20' session -F 499; then
    check_whole 'kiln redis' session
  else
    result stacks 'kiln redis' failed "$(head -n 1 said)"
  fi
  redis-benchmark -q -t set -n 1000000 -c 20 >loaded 2>&1 &
  load=$!
  if kiln record -p "$server" -F 499 -d 3 -o recorded >shown 2>said; then
    check_whole 'kiln record' recorded
  else
    result stacks 'kiln record' failed "$(head -n 1 said)"
  fi
  kill $load
}

load=true
for hook in socket fentry syscall; do
  if ! offers $hook; then
    words='lists what it has'
    grep -q ' bpf_loop$' /proc/kallsyms || words='has no bpf_loop'
    check_refusal "hook $hook" 'is refused in one line' "$words" --hook $hook
    continue
  fi
  if ! session --hook $hook -F 0 --no-syscalls; then
    result "hook $hook" attach failed "$(head -n 1 said)"
    sed 1d said >/dev/console
    continue
  fi
  result "hook $hook" attach passed "$(flatten session/session.json | sed -n 's|^cost/attach_s \(.*\)|\1 s|p')"
  load='redis-benchmark -q -t set,get -n 1009 -c 7' check_counts $hook 'counts, TCP'
  check_phases $hook
  load='redis-benchmark -q -t set,get -n 4001 -c 7 -P 16' check_counts $hook 'counts, TCP, pipelines'
  load='redis-benchmark -q -s /tmp/redis.sock -t set,get -n 1009 -c 7' check_counts $hook 'counts, unix'
  load='redis-benchmark -q -s /tmp/redis.sock -t set,lpush,lrange_100 -n 503 -c 7 -P 16' check_counts $hook 'counts, unix, pipelines'
  load='redis-benchmark -q -t set,get -n 211 -c 3 -d 100003' check_counts $hook 'counts, large values'
  [ $hook != fentry ] || check_io_uring $hook
done
! offers syscall || check_stacks
mount -t tmpfs tmpfs /sys/kernel/btf
check_refusal 'no BTF' 'is refused in one line' 'no BTF'
kill $server
finish
