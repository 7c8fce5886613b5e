#!/bin/sh
# Writes DIRECTORY/SHA256SUMS, of all packages of this version: sums.sh DIRECTORY VERSION.
set -eu
cd "$1"
debian=$(printf %s "$2" | tr - '~')
# shellcheck disable=SC2046 # names without blanks
sha256sum -- $(ls "kiln_$debian"-*.deb "kiln-$2-linux"-*.tar.xz 2>/dev/null) >SHA256SUMS
