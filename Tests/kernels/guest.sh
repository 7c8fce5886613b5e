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

redis-server --port 6379 --unixsocket /tmp/redis.sock --save '' --appendonly no --enable-debug-command yes >redis.log 2>&1 &
server=$!
until [ -S /tmp/redis.sock ] && redis-cli ping 2>/dev/null | grep -q PONG; do
  kill -0 $server || { result guest redis failed "$(tail -n 1 redis.log)"; finish; }
  sleep 0.1
done

for hook in socket fentry syscall; do
  load=true
  if ! session --hook $hook -F 0 --no-syscalls; then
    result "hook $hook" attach refused "$(head -n 1 said)"
    sed 1d said >/dev/console
    continue
  fi
  result "hook $hook" attach passed "$(flatten session/session.json | sed -n 's|^cost/attach_s \(.*\)|\1 s|p')"
  load='redis-benchmark -q -t set,get -n 1009 -c 7' check_counts $hook 'counts over TCP'
  load='redis-benchmark -q -t set,get -n 4001 -c 7 -P 16' check_counts $hook 'counts over TCP, pipelines'
  load='redis-benchmark -q -s /tmp/redis.sock -t set,get -n 1009 -c 7' check_counts $hook 'counts over unix sockets'
  load='redis-benchmark -q -s /tmp/redis.sock -t set,lpush,lrange_100 -n 503 -c 7 -P 16' check_counts $hook 'counts over unix sockets, pipelines'
  load='redis-benchmark -q -t set,get -n 211 -c 3 -d 100003' check_counts $hook 'counts of large values'
done
kill $server
finish
