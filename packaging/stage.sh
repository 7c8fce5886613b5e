#!/bin/sh
# Puts all that belongs to an installed kiln below DESTDIR, and prints each file: stage.sh KILN VERSION SECONDS. `make install`, `make dist` and
# `make deb` install by this script, so that there is one list of files. Every file has the date SECONDS (since 1970). Of the environment:
# PREFIX (/usr/local), SYSCONFDIR (/etc) and DESTDIR (none), as usual; ZSHDIR (PREFIX/share/zsh/site-functions); FISHDIR
# (PREFIX/share/fish/vendor_completions.d, which fish finds below /usr/local only where XDG_DATA_DIRS names it: findings/fish-ignores-usr-local-share.sh).
set -eu
umask 022
kiln=$1
version=$2
seconds=$3
prefix=${PREFIX:-/usr/local}
sysconfdir=${SYSCONFDIR:-/etc}
zshdir=${ZSHDIR:-$prefix/share/zsh/site-functions}
fishdir=${FISHDIR:-$prefix/share/fish/vendor_completions.d}
destdir=${DESTDIR:-}
here=$(dirname "$(realpath "$0")")
source=$here/..

[ -x "$kiln" ] || { echo "no $kiln here: make static first, or KILN=.build/release/kiln after make" >&2; exit 1; }
"$kiln" --version | grep -qwF "$version" || { echo "$kiln is of another version than $version: build it again" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# put MODE FILE PLACE
put() {
  install -D -m "$1" "$2" "$destdir$3"
  touch -d "@$seconds" "$destdir$3"
  echo "$3"
}

# Nothing in kiln reads its own symbols: it finds its own functions by address.
strip --strip-all -o "$work/kiln" "$kiln"
put 755 "$work/kiln" "$prefix/bin/kiln"

"$here/manual.sh" "$kiln" "$work/man" "$version" "$seconds"
for page in "$work"/man/*.1; do
  gzip -9n "$page"
  put 644 "$page.gz" "$prefix/share/man/man1/$(basename "$page").gz"
done

# They are read, not run: no `#!`.
for shell in bash zsh fish; do "$kiln" --generate-completion-script $shell | sed '1{/^#!/d}' >"$work/$shell"; done
put 644 "$work/bash" "$prefix/share/bash-completion/completions/kiln"
put 644 "$work/zsh" "$zshdir/_kiln"
put 644 "$work/fish" "$fishdir/kiln.fish"

sed "s|/usr/local|$prefix|g; s|/etc/kiln/|$sysconfdir/kiln/|g" "$source/systemd/kiln.service" >"$work/kiln.service"
put 644 "$work/kiln.service" "$prefix/lib/systemd/system/kiln.service"
# A configuration that is there stays.
[ -e "$destdir$sysconfdir/kiln/kiln.toml" ] || put 644 "$source/systemd/kiln.toml" "$sysconfdir/kiln/kiln.toml"

for file in docs/usage.md docs/glossary.md CHANGELOG.md; do put 644 "$source/$file" "$prefix/share/doc/kiln/$(basename "$file")"; done
put 644 "$source/grafana/kiln-redis.json" "$prefix/share/doc/kiln/examples/kiln-redis.json"
put 644 "$source/systemd/kiln.toml" "$prefix/share/doc/kiln/examples/kiln.toml"
put 644 "$here/debian/copyright" "$prefix/share/doc/kiln/copyright"
