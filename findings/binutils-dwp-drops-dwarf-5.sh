#!/bin/sh
# dwp of GNU binutils 2.40 (Debian 12): it leaves units of DWARF 5 out of a package, says nothing, and ends with status 0.
#
# Expected: dwp packs the .dwo files that it is given, with a row in .debug_cu_index for each unit (DWARF 5, 7.3.5), or says that it can't.
# Seen: of two files of DWARF 5 (gcc 12's default) .debug_cu_index has no row, and there is no .debug_info.dwo; of the same files as DWARF 4 it has two rows.
#
# Why it matters: who packs with it and removes the .dwo files has lost the debugging information, and learns of it from a debugger.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
version=$(dpkg-query -W -f '${Version}' binutils 2>/dev/null) || version=none
case $version in 2.40-*) ;; *) echo "needs binutils 2.40, not $version"; exit 2 ;; esac
command -v gcc >/dev/null || { echo "needs gcc"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo 'int one(int x) { return x + 1; }' >one.c
echo 'int two(int x) { return x + 2; }' >two.c

# Prints the number of units (the third word of the index) in a package of this version.
units() {
  for name in one two; do gcc -g -gdwarf-"$1" -gsplit-dwarf -c "$name.c" -o "$name.o"; done
  dwp -o "$1.dwp" one.dwo two.dwo || { echo "dwp ended with $?"; exit 1; }
  objcopy -O binary --only-section=.debug_cu_index --set-section-flags .debug_cu_index=alloc "$1.dwp" index
  od -An -tu4 -j8 -N4 index | tr -d ' '
}
four=$(units 4)
five=$(units 5)
echo "units in the index: $four of DWARF 4, $five of DWARF 5"
[ "$four" = 2 ] && [ "$five" = 0 ]
