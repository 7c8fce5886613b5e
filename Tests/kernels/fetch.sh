#!/bin/sh
# Prints the path of a kernel's image: NAME is the path of an image, or one of the versions below, of which the newest package
# is taken from the mirror that this machine's apt uses (Tests/debian.sh).
set -eu
name=$1
cache=$2
here=$(dirname "$(realpath "$0")")

if [ -f "$name" ]; then
  realpath "$name"
  exit
fi
case $name in
  5.10) suite=bullseye ;;
  6.1) suite=bookworm ;;
  6.12) suite=trixie ;;
  *) echo "no such image, and no package of that name is known (5.10, 6.1, 6.12)" >&2; exit 1 ;;
esac

newest() { ls "$cache/$suite/boot/vmlinuz-$name."* 2>/dev/null | sort -V | tail -n 1; }
if [ -z "$(newest)" ]; then
  mkdir -p "$cache"
  cache=$(realpath "$cache")
  apt() { "$here/../debian.sh" "$suite" "$cache" "$@"; }
  package=$(apt apt-cache search --names-only "^linux-image-$name\\.[^ ]*-cloud-amd64\$" | cut -d' ' -f1 | sort -V | tail -n 1)
  [ -n "$package" ] || { echo "$suite has no package of Linux $name" >&2; exit 1; }
  (cd "$cache/$suite" && apt apt-get download "$package" >/dev/null 2>&1) || { echo "$package can't be downloaded" >&2; exit 1; }
  dpkg -x "$cache/$suite/$package"_*.deb "$cache/$suite"
fi
newest
