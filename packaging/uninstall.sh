#!/bin/sh
# Removes what stage.sh has put below DESTDIR. A configuration that was changed stays, and so do folders that other programs use, too. Of the environment: as
# stage.sh.
set -eu
prefix=${PREFIX:-/usr/local}
sysconfdir=${SYSCONFDIR:-/etc}
zshdir=${ZSHDIR:-$prefix/share/zsh/site-functions}
fishdir=${FISHDIR:-$prefix/share/fish/vendor_completions.d}
destdir=${DESTDIR:-}
here=$(dirname "$(realpath "$0")")

rm -rf "$destdir$prefix/share/doc/kiln"
rm -f "$destdir$prefix/bin/kiln" "$destdir$prefix"/share/man/man1/kiln.1.gz "$destdir$prefix"/share/man/man1/kiln-*.1.gz "$destdir$zshdir/_kiln" \
  "$destdir$prefix/share/bash-completion/completions/kiln" "$destdir$fishdir/kiln.fish" \
  "$destdir$prefix/lib/systemd/system/kiln.service"
configuration=$destdir$sysconfdir/kiln/kiln.toml
if [ -e "$configuration" ]; then
  if cmp -s "$configuration" "$here/../systemd/kiln.toml"; then rm "$configuration"; else echo "left because it was changed: $configuration"; fi
fi
[ ! -d "$destdir$sysconfdir/kiln" ] || rmdir --ignore-fail-on-non-empty "$destdir$sysconfdir/kiln"
