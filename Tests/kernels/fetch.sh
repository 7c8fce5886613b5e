#!/bin/sh
# Prints the path of a kernel's image: NAME is the path of an image, or one of the versions below, of which the newest package
# is taken from the mirror that this machine's apt uses. In a state directory of its own: the machine's apt sees nothing of it.
set -eu
name=$1
cache=$2

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
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || { echo "this machine's apt has no Debian mirror" >&2; exit 1; }
  mkdir -p "$cache/$suite/lists/partial" "$cache/$suite/archives/partial"
  cache=$(realpath "$cache")
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$cache/$suite/sources.list"
  apt() {
    tool=$1
    shift
    "$tool" -qq -o Dir::Etc::SourceList="$cache/$suite/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
      -o Dir::State::Lists="$cache/$suite/lists" -o Dir::Cache="$cache/$suite" "$@"
  }
  apt apt-get update >/dev/null 2>&1 || { echo "the mirror has no suite $suite" >&2; exit 1; }
  package=$(apt apt-cache search --names-only "^linux-image-$name\\.[^ ]*-cloud-amd64\$" | cut -d' ' -f1 | sort -V | tail -n 1)
  [ -n "$package" ] || { echo "$suite has no package of Linux $name" >&2; exit 1; }
  (cd "$cache/$suite" && apt apt-get download "$package" >/dev/null 2>&1) || { echo "$package can't be downloaded" >&2; exit 1; }
  dpkg -x "$cache/$suite/$package"_*.deb "$cache/$suite"
fi
newest
