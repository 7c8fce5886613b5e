#!/bin/sh
# Packs the binary KILN with manual pages, completions, unit, dashboard and licences: dist.sh KILN VERSION SECONDS DIRECTORY. Writes
# kiln-VERSION-linux-ARCHITECTURE.tar.xz and SHA256SUMS; the same binary gives the same bytes. The tree in it is one for /usr/local:
# `tar -xJf kiln-….tar.xz --strip-components=1 -C /usr/local`.
set -eu
umask 022
kiln=$1
version=$2
seconds=$3
directory=$4
here=$(dirname "$(realpath "$0")")
name=kiln-$version-linux-$(uname -m)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
DESTDIR=$tree/staged "$here/stage.sh" "$kiln" "$version" "$seconds" >/dev/null
# A configuration for /etc is in share/doc/kiln/examples.
mv "$tree/staged/usr/local" "$tree/$name"
cp "$here/../LICENSE" "$tree/$name/share/doc/kiln/LICENSE"

mkdir -p "$directory"
tar -C "$tree" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$seconds" --format=gnu -cf - "$name" | xz -9 -T1 >"$directory/$name.tar.xz"
"$here/sums.sh" "$directory" "$version"
echo "$directory/$name.tar.xz"
