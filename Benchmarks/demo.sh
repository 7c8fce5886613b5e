#!/bin/sh
# Profiles a redis-server of its own under a mixed load for 10 s and leaves the session in demo/.
set -eu
cd "$(dirname "$0")/.."
kiln=${1:-.build/release/kiln}
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo

work=$(mktemp -d)
server="" load=""
stop() {
  trap - EXIT INT TERM
  for pid in $load $server; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# A port that refuses a connection is free; a server that loses the race for it ends, and the next port is tried.
port=16379
while :; do
  redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no --dir "$work" --logfile "$work/log" &
  server=$!
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$server" 2>/dev/null || break
    redis-cli -p "$port" info server 2>/dev/null | grep -q "process_id:$server" && break 2
    sleep 0.2
  done
  kill "$server" 2>/dev/null || true
  port=$((port + 1))
  [ "$port" -lt 16479 ] || { echo "demo: no redis-server would start; its last words:" >&2; tail -5 "$work/log" >&2; exit 1; }
done

# Until the session ends: single requests and pipelines in turn, and for two seconds a script that holds them up.
(
  trap 'kill $current 2>/dev/null; exit 0' TERM
  while :; do
    for options in "-t set,get,lpush,lrange_100,zadd -n 40000 -c 20" "-t set,get,lpush,zadd -n 400000 -c 20 -P 16"; do
      # shellcheck disable=SC2086
      redis-benchmark -p "$port" -q -r 100000 $options >/dev/null 2>&1 &
      current=$!
      wait "$current" || true
    done
  done
) &
load=$!
(
  trap 'kill $current 2>/dev/null; exit 0' TERM
  sleep 5 &
  current=$!
  wait "$current"
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    redis-cli -p "$port" eval 'local sum = 0; for n = 1, 4000000 do sum = sum + n % 7 end; return sum' 0 >/dev/null 2>&1 &
    current=$!
    wait "$current" || true
    sleep 0.05
  done
) &
load="$load $!"

rm -rf demo
$sudo "$kiln" redis --pid "$server" --duration 10 --interval 0.25 --output demo
echo "open demo/report.html in a browser"
