#!/bin/sh
# redis-server 5:7.0.15-1~deb12u10 (Debian 12): it listens before it loads its modules, and ends if one can't be loaded.
#
# Expected: who can connect has a server that runs.
# Seen: the socket listens, so that the kernel accepts connections; then the module is opened, and where that fails the server ends with status 1.
#
# Why it matters: a test that waits until it can connect may remove the module's file too early, and then finds its server gone. PING tells.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -u
[ "$(dpkg-query -W -f '${Version}' redis-server 2>/dev/null)" = "5:7.0.15-1~deb12u10" ] && command -v strace >/dev/null || { echo "redis-server of that version, and strace, are not here"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
timeout 20 strace -o "$folder/calls" -e trace=listen,openat redis-server --port 0 --unixsocket "$folder/socket" --dir "$folder" --save "" \
	--loadmodule "$folder/none.so" >"$folder/log" 2>&1
status=$?
grep -nE 'listen\(|none\.so' "$folder/calls"
echo "status $status"
listens=$(grep -nE 'listen\(' "$folder/calls" | head -1 | cut -d: -f1)
loads=$(grep -n 'none\.so' "$folder/calls" | head -1 | cut -d: -f1)
[ "$status" = 1 ] && [ -n "$listens" ] && [ -n "$loads" ] && [ "$listens" -lt "$loads" ]
