#!/bin/sh
# valkey-server 9.1.2 (Debian sid, 9.1.2-1): SCRIPT FLUSH and FUNCTION FLUSH count a CONFIG GET that no client sent.
#
# Expected: INFO commandstats counts the commands of clients; one SCRIPT FLUSH adds one call of script|flush and nothing else.
# Seen: each SCRIPT FLUSH, and each FUNCTION FLUSH, also adds one call to cmdstat_config|get, beside the two that the server has counted when it
# has just started. The Lua engine is a module since 9.1; a flush makes the engine anew, and the new one reads its configuration by a command.
#
#   after the start            cmdstat_config|get:calls=2
#   after SCRIPT FLUSH         cmdstat_config|get:calls=3
#   after FUNCTION FLUSH       cmdstat_config|get:calls=4
#
# Why it matters: who compares counts taken at the sockets with the server's own finds calls that nobody made.
# Needs root (chroot) and a Debian mirror in this machine's apt. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
version=9.1.2-1
folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
mkdir -p "$folder/lists/partial" "$folder/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$folder/sources.list"
: >"$folder/status"
apt() {
  apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder" -o Dir::State::status="$folder/status" "$@"
}
apt update >/dev/null 2>&1 && apt install -y --download-only --no-install-recommends "valkey-server=$version" "valkey-tools=$version" >/dev/null 2>&1 ||
  { echo "valkey $version is not to be had"; exit 2; }
root=$folder/root
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/tmp"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
for package in "$folder/archives"/*.deb; do dpkg -x "$package" "$root"; done

env LC_ALL=C chroot "$root" /usr/bin/valkey-server --port 0 --unixsocket /tmp/s --save '' --dir /tmp >"$folder/log" 2>&1 &
pid=$!
ask() { chroot "$root" /usr/bin/valkey-cli -s /tmp/s "$@"; }
until ask PING 2>/dev/null | grep -q PONG; do kill -0 "$pid" || { cat "$folder/log"; exit 2; }; sleep 0.1; done

calls() { ask INFO commandstats | tr -d '\r' | sed -n 's/^cmdstat_config|get:calls=\([0-9]*\).*/\1/p'; }
start=$(calls)
ask SCRIPT FLUSH >/dev/null
script=$(calls)
ask FUNCTION FLUSH >/dev/null
function=$(calls)
echo "valkey-server $version: config|get after the start ${start:-0}, after SCRIPT FLUSH ${script:-0}, after FUNCTION FLUSH ${function:-0}"
[ "${start:-0} ${script:-0} ${function:-0}" = "2 3 4" ]
