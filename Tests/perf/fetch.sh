#!/bin/sh
# Unpacks the perf of other Debian suites than this machine's into CACHE, for tests of what it prints: fetch.sh CACHE
#
#   CACHE/perf-trixie, CACHE/perf-sid: scripts that run it with its own libraries
#
# What can't be had is said in one line on standard output; status 0 all the same. Tests that need it say that they did not run.
set -eu
cache=$1
here=$(dirname "$(realpath "$0")")
mkdir -p "$cache"
cache=$(realpath "$cache")

for suite in trixie sid; do
  root=$cache/$suite/root
  [ ! -e "$cache/perf-$suite" ] || continue
  if ! "$here/../debian.sh" "$suite" "$cache" apt-get install -y --download-only --no-install-recommends linux-perf >/dev/null 2>"$cache/$suite.log"; then
    echo "not to be had: perf of $suite: $(tail -n 1 "$cache/$suite.log")"
    continue
  fi
  rm -rf "$root"
  mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
  for package in "$cache/$suite/archives"/*.deb; do dpkg -x "$package" "$root"; done
  libraries=$root/usr/lib/x86_64-linux-gnu
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$root/usr/lib64/ld-linux-x86-64.so.2" "$libraries:$libraries/systemd" "$root/usr/bin/perf" \
    >"$cache/perf-$suite.new"
  chmod +x "$cache/perf-$suite.new"
  mv "$cache/perf-$suite.new" "$cache/perf-$suite"
done
