#!/bin/sh
# busybox 1:1.35.0-4+deb12u1+b1 (Debian 12): `head -c N` takes more than N bytes of a pipe, so that the next program misses some.
#
# Expected: as head of GNU coreutils 9.1 does it: of a pipe, N bytes are read and the rest is left to whoever reads next.
# Seen: busybox reads a whole buffer. Of "abcdef", two bytes are printed, and `cat` behind it gets nothing; with GNU it gets "cdef".
#
# Why it matters: a script that takes a program of N bytes from its standard input, and commands behind it, works with GNU's head and not with
# busybox's (Alpine, many containers): the sender has to wait until the N bytes are taken.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq busybox-static=1:1.35.0-4+deb12u1+b1 coreutils=9.1-1 >/dev/null 2>&1 || { echo "these packages can't be had"; exit 2; }
for package in *.deb; do dpkg-deb -x "$package" .; done
taken() { printf abcdef | { sleep 0.1; "$@" -c 2; printf ' then '; cat; }; }
busybox=$(taken ./bin/busybox head)
gnu=$(taken ./usr/bin/head)
echo "busybox: $busybox"
echo "GNU:     $gnu"
[ "$busybox" = "ab then " ] && [ "$gnu" = "ab then cdef" ]
