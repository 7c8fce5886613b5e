#!/bin/sh
# bpftrace 0.17.0 (Debian 12: bpftrace 0.17.0-1): `-f json` writes an object in which one name is there several times.
#
# Expected: each entry of a map can be read from its JSON. "The names within an object SHOULD be unique" (RFC 8259, 4); most readers keep the
# last of equal names and say nothing.
# Seen: two processes of one program have the function `step` at different addresses. Their two entries of `@[ustack, comm] = count()` have the
# same name, because names are made of symbols: {"@": {"\n    step+0\n,twice": 52, "\n    step+0\n,twice": 49}}. python3 reads 49 calls of 101.
#
# Why it matters: stacks disappear from what is read, more of them the more processes a program has.
# Needs root, BPF, g++ and python3. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
version=0.17.0-1
folder=$(mktemp -d)
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || true; done; rm -rf "$folder"' EXIT
command -v g++ >/dev/null && command -v python3 >/dev/null || { echo "needs g++ and python3"; exit 2; }

bpftrace=bpftrace libraries=
if [ "$(dpkg-query -W -f '${Version}' bpftrace 2>/dev/null || true)" != "$version" ]; then
  # With all that it depends on.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' | head -n 1)
  mkdir -p "$folder/lists/partial" "$folder/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$folder/sources.list"
  : >"$folder/status"
  apt() {
    apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
      -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder" -o Dir::State::status="$folder/status" "$@"
  }
  apt update >/dev/null 2>&1 && apt install -y --download-only --no-install-recommends "bpftrace=$version" >/dev/null 2>&1 ||
    { echo "bpftrace $version is not to be had"; exit 2; }
  for package in "$folder/archives"/*.deb; do dpkg -x "$package" "$folder/root"; done
  bpftrace=$folder/root/usr/bin/bpftrace libraries=$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu
fi

cat >"$folder/twice.cc" <<'EOC'
#include <unistd.h>
volatile int steps;
extern "C" __attribute__((noinline)) void step() { steps++; }
int main() { for (;;) { step(); usleep(20000); } }
EOC
g++ -O1 -fPIE -pie -o "$folder/twice" "$folder/twice.cc" || { echo "g++ failed"; exit 2; }
for number in 1 2; do
  "$folder/twice" &
  pids="$pids $!"
done
LD_LIBRARY_PATH=$libraries timeout 60 "$bpftrace" -f json \
  -e "uprobe:$folder/twice:step { @[ustack(1), comm] = count(); @all = count(); } interval:s:1 { exit(); }" >"$folder/json" 2>"$folder/errors" ||
  { cat "$folder/errors"; exit 2; }
grep '"@"' "$folder/json" || { cat "$folder/errors"; exit 2; }
python3 - "$folder/json" <<'EOP'
import json, sys
maps = {}
for line in open(sys.argv[1]):
    if line.startswith('{"type": "map"'):
        maps.update(json.loads(line)["data"])
read, all = sum(maps["@"].values()), maps["@all"]
print(f"calls that python3 reads: {read} in {len(maps['@'])} stacks; calls: {all}")
sys.exit(0 if len(maps["@"]) == 1 and 0 < read < all else 1)
EOP
