#!/bin/sh
# Runs an apt tool against another Debian suite of the mirror that this machine's apt uses: debian.sh SUITE CACHE TOOL ARGUMENT...
# Lists, archives and status lie in CACHE/SUITE: the machine's own apt sees nothing of it, and nothing counts as installed there.
# One line on standard error and status 1 where the suite can't be had.
set -eu
suite=$1
cache=$2
shift 2

mkdir -p "$cache/$suite/lists/partial" "$cache/$suite/archives/partial"
state=$(realpath "$cache/$suite")
apt() {
  tool=$1
  shift
  "$tool" -qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
    -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state" -o Dir::State::status="$state/status" "$@"
}

if [ ! -e "$state/updated" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || { echo "this machine's apt has no Debian mirror" >&2; exit 1; }
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/sources.list"
  : >"$state/status"
  apt apt-get update >/dev/null 2>&1 || { echo "the mirror has no suite $suite" >&2; exit 1; }
  touch "$state/updated"
fi
apt "$@"
