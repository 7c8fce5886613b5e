#!/bin/sh
# Packs what a guest needs into an initramfs: initramfs.sh KILN TESTS OUTPUT. The static kiln, the tests' bundle, busybox, what the
# tests start (Redis, Python, openssl, xmllint), a server that uses io_uring, and the libraries of all.
set -eu
kiln=$1
tests=$2
output=$(realpath -m "$3")
here=$(dirname "$(realpath "$0")")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# A file's libraries where they lie here. ldd: `name => path (address)`, and the loader, `path (address)`.
copy_libraries() {
  ldd "$1" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    [ ! -e "$root$library" ] || continue
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}

mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc"
cp "$kiln" "$root/bin/kiln"
cp "$here/guest.sh" "$root/init"
cp /bin/busybox "$root/bin/"
ln -s bin "$root/sbin"
mkdir "$root/usr"
ln -s ../bin "$root/usr/bin"
echo 'root:x:0:0:root:/tmp:/bin/sh' >"$root/etc/passwd"
gcc -O2 -Wall -Wextra -Werror -static -o "$root/bin/io_uring_server" "$here/io_uring_server.c"
# Symbols for debuggers are most of the bundle.
strip --strip-debug -o "$root/bin/kiln-tests" "$tests"
copy_libraries "$tests"
for program in redis-server redis-cli redis-benchmark openssl xmllint python3; do
  # Debian's, not another one that comes first on the path.
  cp -L "/usr/bin/$program" "$root/bin/$program"
  copy_libraries "/usr/bin/$program"
done
# Python's own library, with what it has compiled of it, and openssl's configuration.
for library in /usr/lib/python3.*; do
  mkdir -p "$root/usr/lib"
  cp -a "$library" "$root/usr/lib/"
  for extension in "$library"/lib-dynload/*.so; do copy_libraries "$extension"; done
done
rm -rf "$root"/usr/lib/python3.*/test "$root"/usr/lib/python3.*/idlelib "$root"/usr/lib/python3.*/dist-packages
mkdir "$root/usr/lib/ssl"
cp -L /usr/lib/ssl/openssl.cnf "$root/usr/lib/ssl/"
# Not compressed: an emulated CPU takes longer to unpack it than this one to pack it.
(cd "$root" && find . | cpio --quiet -o -H newc) >"$output"
