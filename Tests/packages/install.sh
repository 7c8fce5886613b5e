#!/bin/sh
# Whether `make install` puts everything in its place and `make uninstall` takes all of it away: install.sh KILN. Into a folder, not into the system.
set -eu
kiln=$(realpath "$1")
cd "$(dirname "$0")/../.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed=0
fail() { echo "failed: $*"; failed=1; }
make_() { make -s "$1" KILN="$kiln" DESTDIR="$root" PREFIX=/opt/kiln; }

make_ install >/dev/null
for file in opt/kiln/bin/kiln opt/kiln/share/man/man1/kiln-redis.1.gz opt/kiln/lib/systemd/system/kiln.service etc/kiln/kiln.toml; do
  [ -f "$root/$file" ] || fail "make install left out $file"
done
grep -q '^ExecStart=/opt/kiln/bin/kiln ' "$root/opt/kiln/lib/systemd/system/kiln.service" || fail "the unit doesn't start the installed binary"
MANPATH=$root/opt/kiln/share/man man -w kiln-trace-redis >/dev/null || fail "man doesn't find kiln-trace-redis"

echo 'port = [6379]' >"$root/etc/kiln/kiln.toml"
make_ install >/dev/null
grep -qx 'port = \[6379\]' "$root/etc/kiln/kiln.toml" || fail "a second make install has replaced the configuration"
make_ uninstall >/dev/null
[ "$(cd "$root" && find . -type f)" = ./etc/kiln/kiln.toml ] || fail "make uninstall leaves $(find "$root" -type f)"
rm "$root/etc/kiln/kiln.toml"
# Without DESTDIR, too.
make_() { make -s "$1" KILN="$kiln" PREFIX="$root/opt/kiln" SYSCONFDIR="$root/etc"; }
make_ install >/dev/null && "$root/opt/kiln/bin/kiln" --version >/dev/null || fail "the installed kiln doesn't run"
make_ uninstall >/dev/null
left=$(find "$root" ! -type d -o -name kiln ! -path '*/opt/kiln')
[ -z "$left" ] || fail "make uninstall leaves $left"
[ $failed = 1 ] || echo "passed: make install, make uninstall"
exit $failed
