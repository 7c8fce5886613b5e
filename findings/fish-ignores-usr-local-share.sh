#!/bin/sh
# fish 3.6.0-3.1+deb12u1 (Debian 12; 4.0.2 of Debian 13 does the same): without XDG_DATA_DIRS it looks for no completions in /usr/local/share.
#
# Expected: the XDG Base Directory Specification: where XDG_DATA_DIRS is not set, it counts as /usr/local/share/:/usr/share/.
# Seen: fish looks in /usr/share/fish/vendor_completions.d only (fish-shell issue 11349). With XDG_DATA_DIRS it looks in both.
#
# Why it matters: over ssh XDG_DATA_DIRS is not set, so what `make install` puts below /usr/local doesn't complete there; FISHDIR=/etc/fish/completions does.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -u
[ "$(dpkg-query -W -f '${Version}' fish 2>/dev/null)" = "3.6.0-3.1+deb12u1" ] || { echo "fish of that version is not here"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
searched() { env -i HOME="$folder" PATH=/usr/bin:/bin "$@" fish -c 'string join \n $fish_complete_path' | grep '^/usr.*vendor'; }
echo "without XDG_DATA_DIRS:" && searched && echo "with it:" && searched XDG_DATA_DIRS=/usr/local/share:/usr/share
[ "$(searched)" = /usr/share/fish/vendor_completions.d ] &&
  searched XDG_DATA_DIRS=/usr/local/share:/usr/share | grep -qx /usr/local/share/fish/vendor_completions.d
