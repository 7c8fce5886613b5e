#!/bin/sh
# The part of debian.sh that runs in the Debian it has made: inside.sh STATUS SUITE. STATUS is that of `kiln doctor` outside.
set -eu
status=$1
suite="$2 ($(cat /etc/debian_version))"
failed=0
fail() { echo "failed: $suite: $*"; failed=1; }

# Files of kiln's, not what dpkg and mandb keep of every package.
# Of man's cache every page that was read stays: it is not kiln's.
files() { find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/cache/man \) -prune -o -print | grep -v -e '^/var/lib/dpkg/[^/]*-old$' | sort; }

files >/run/test/before
dpkg -i /run/test/kiln.deb >/run/test/log 2>&1 || { cat /run/test/log; fail "dpkg -i"; exit 1; }
files >/run/test/installed
[ ! -e /etc/systemd/system/multi-user.target.wants/kiln.service ] || fail "installing has enabled the service"

got=0
kiln doctor >/run/test/doctor 2>&1 || got=$?
[ "$got" = "$status" ] && [ -s /run/test/doctor ] || { cat /run/test/doctor; fail "kiln doctor ended with $got, outside with $status"; }
kiln --version >/dev/null || fail "kiln --version"

warnings=$(MANWIDTH=80 man --warnings kiln-redis 2>&1 >/dev/null)
[ -z "$warnings" ] || fail "man kiln-redis: $warnings"
man kiln-redis | grep -q -- --max-cost || fail "man kiln-redis has no --max-cost"
man -k 'kiln' >/run/test/names 2>&1 || true
grep -q '^kiln-trace-redis' /run/test/names || fail "man -k doesn't know kiln-trace-redis"
sh /run/test/pages.sh kiln /usr/share/man/man1 || fail "manual pages"
sh /run/test/completions.sh || fail "completions"

warnings=$(systemd-analyze verify kiln.service 2>&1) && [ -z "$warnings" ] || fail "systemd-analyze verify: $warnings"
systemctl enable kiln.service >/dev/null 2>&1 || fail "systemctl enable"
[ -L /etc/systemd/system/multi-user.target.wants/kiln.service ] || fail "systemctl enable has made no link"

dpkg -P kiln >/run/test/log 2>&1 || { cat /run/test/log; fail "dpkg -P"; }
files >/run/test/after
diff /run/test/before /run/test/after || fail "removed, but not the same files as before (>)"
[ $failed = 1 ] || echo "passed: $suite: installed $(comm -13 /run/test/before /run/test/installed | wc -l) files and folders, doctor ended with $got as outside, removed without a trace"
exit $failed
