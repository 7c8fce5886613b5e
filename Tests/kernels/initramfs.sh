#!/bin/sh
# Packs what a guest needs into an initramfs: initramfs.sh KILN OUTPUT. The static kiln, busybox, a server that uses io_uring, Redis,
# and the libraries that it is linked with.
set -eu
kiln=$1
output=$(realpath -m "$2")
here=$(dirname "$(realpath "$0")")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
cp "$kiln" "$root/bin/kiln"
cp "$here/guest.sh" "$root/init"
cp /bin/busybox "$root/bin/"
gcc -O2 -Wall -Wextra -Werror -static -o "$root/bin/io_uring_server" "$here/io_uring_server.c"
for program in redis-server redis-cli redis-benchmark; do
  path=$(command -v "$program")
  cp -L "$path" "$root/bin/$program"
  # `name => path (address)`, and the loader, `path (address)`.
  ldd "$path" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -Ln "$library" "$root$library"
  done
done
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$output"
