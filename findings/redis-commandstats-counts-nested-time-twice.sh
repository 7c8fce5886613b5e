#!/bin/sh
# redis-server 7.0.15 (Debian 12, 5:7.0.15-1~deb12u7): INFO commandstats counts the time of commands inside EVAL and EXEC twice.
#
# Expected: `usec` of all commands together is the time that the server spent in commands, so a command's part of it is its share.
# Seen: what a script or a transaction calls has its time both in its own row and in that of EVAL or EXEC. A server that did nothing but 20 BITCOUNT in
# one script and 5 in one transaction, 10.4 ms of work, reports 21.1 ms (times vary, the relation does not):
#
#   cmdstat_bitcount:calls=25,usec=10444     all of the work
#   cmdstat_eval:calls=1,usec=8713           20 of them again
#   cmdstat_exec:calls=1,usec=1952           5 of them again
#
# redis 8 and valkey 8.1 of Debian 13 do the same.
# Why it matters: shares of time by command, computed from the server's own statistics, add up to more than the server's time. Who compares them with
# a profile has to leave out either the callers or the called.
# Needs root (chroot) and a Debian mirror in this machine's apt. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
version=5:7.0.15-1~deb12u7
folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
mkdir -p "$folder/lists/partial" "$folder/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$folder/sources.list"
: >"$folder/status"
apt() {
  apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder" -o Dir::State::status="$folder/status" "$@"
}
apt update >/dev/null 2>&1 && apt install -y --download-only --no-install-recommends "redis-server=$version" "redis-tools=$version" >/dev/null 2>&1 ||
  { echo "redis $version is not to be had"; exit 2; }
root=$folder/root
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/tmp"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
for package in "$folder/archives"/*.deb; do dpkg -x "$package" "$root"; done

env LC_ALL=C chroot "$root" /usr/bin/redis-server --port 0 --unixsocket /tmp/s --save '' --dir /tmp >"$folder/log" 2>&1 &
pid=$!
ask() { chroot "$root" /usr/bin/redis-cli -s /tmp/s "$@"; }
until ask PING 2>/dev/null | grep -q PONG; do kill -0 "$pid" || { cat "$folder/log"; exit 2; }; sleep 0.1; done

ask SETBIT big 80000000 1 >/dev/null
ask CONFIG RESETSTAT >/dev/null
ask EVAL "for i = 1, 20 do redis.call('bitcount', 'big') end" 0 >/dev/null
{ echo MULTI; for number in 1 2 3 4 5; do echo BITCOUNT big; done; echo EXEC; } | ask >/dev/null
time_of() { ask INFO commandstats | tr -d '\r' | sed -n "s/^cmdstat_$1:.*usec=\([0-9]*\),.*/\1/p"; }
inner=$(time_of bitcount) script=$(time_of eval) transaction=$(time_of exec)
echo "redis-server $version: bitcount ${inner:-0} us, eval ${script:-0} us, exec ${transaction:-0} us"
# The callers' time covers that of what they call, to within a tenth.
[ "$((script + transaction))" -ge "$((inner * 9 / 10))" ]
