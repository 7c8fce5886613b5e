#!/bin/sh
# Removes what stage.sh has put below DESTDIR, and the folders that are then empty. A configuration that was changed stays. Of the environment: as stage.sh.
set -eu
prefix=${PREFIX:-/usr/local}
sysconfdir=${SYSCONFDIR:-/etc}
zshdir=${ZSHDIR:-$prefix/share/zsh/site-functions}
destdir=${DESTDIR:-}
here=$(dirname "$(realpath "$0")")

rm -rf "${destdir:?}$prefix/share/doc/kiln"
rm -f "$destdir$prefix/bin/kiln" "$destdir$prefix"/share/man/man1/kiln.1.gz "$destdir$prefix"/share/man/man1/kiln-*.1.gz "$destdir$zshdir/_kiln" \
  "$destdir$prefix/share/bash-completion/completions/kiln" "$destdir$prefix/share/fish/vendor_completions.d/kiln.fish" \
  "$destdir$prefix/lib/systemd/system/kiln.service"
configuration=$destdir$sysconfdir/kiln/kiln.toml
if [ -e "$configuration" ]; then
  if cmp -s "$configuration" "$here/../systemd/kiln.toml"; then rm "$configuration"; else echo "left because it was changed: $configuration"; fi
fi
for folder in "$zshdir" "$prefix/share/bash-completion/completions" "$prefix/share/fish/vendor_completions.d" "$prefix/lib/systemd/system" \
  "$prefix/share/man/man1" "$prefix/share/doc" "$prefix/bin" "$sysconfdir/kiln"; do
  [ ! -d "$destdir$folder" ] || (cd "$destdir/" && rmdir -p --ignore-fail-on-non-empty ".$folder")
done
