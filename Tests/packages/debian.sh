#!/bin/sh
# Whether the package installs into a fresh Debian, works there, and leaves nothing behind: debian.sh PACKAGE SUITE CACHE. Needs root. The system is made by
# debootstrap from the mirror of this machine's apt, once: CACHE/SUITE. A suite that can't be had is skipped.
set -eu
package=$(realpath "$1")
suite=$2
cache=$3
tests=$(dirname "$(realpath "$0")")
skip() { echo "skipped: $suite: $*"; exit 0; }

[ "$(id -u)" = 0 ] || skip "debootstrap and chroot need root"
mkdir -p "$cache"
cache=$(realpath "$cache")
if [ ! -e "$cache/$suite.made" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || skip "this machine's apt has no Debian mirror"
  rm -rf "${cache:?}/$suite"
  debootstrap --variant=minbase --include=man-db,zsh,fish,bash-completion,systemd "$suite" "$cache/$suite" "$mirror" >"$cache/$suite.log" 2>&1 ||
    skip "debootstrap could not make it: $(tail -n 1 "$cache/$suite.log")"
  touch "$cache/$suite.made"
fi

root=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
cp -a "$cache/$suite/." "$root"
mkdir "$root/run/test"
cp "$package" "$root/run/test/kiln.deb"
cp "$tests"/*.sh "$tests"/completion.* "$root/run/test/"
dpkg-deb --fsys-tarfile "$package" | tar -xO ./usr/bin/kiln >"$root/run/test/kiln"
chmod +x "$root/run/test/kiln"
here=0
"$root/run/test/kiln" doctor >/dev/null 2>&1 || here=$?

# The mounts are those of a mount namespace of its own, and end with it.
unshare --mount --fork sh -eu -c '
  for system in proc sys dev; do mount --rbind "/$system" "$1/$system"; done
  exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root sh /run/test/inside.sh "$2" "$3"
' - "$root" "$here" "$suite"
