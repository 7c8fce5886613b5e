#!/bin/sh
# Makes a Debian package of the binary KILN: deb.sh KILN VERSION SECONDS DIRECTORY. Prints the package's path, and renews SHA256SUMS. SECONDS since 1970 are
# the date of all that is in it, so that the same binary gives the same package. DEB_MAINTAINER in the environment is who answers for it.
#
# dpkg-deb alone makes it: there is nothing to compile here, and no source package. The binary needs no shared library, hence no Depends. Installing
# starts no service: the unit is there for whoever wants it.
set -eu
umask 022
kiln=$1
version=$2
seconds=$3
directory=$4
here=$(dirname "$(realpath "$0")")
architecture=$(dpkg --print-architecture)
# SemVer's 1.0.0-rc.1 comes before 1.0.0, as Debian's 1.0.0~rc.1 does.
debian=$(printf %s "$version" | tr - '~')-1
maintainer=${DEB_MAINTAINER:-kiln maintainers <maintainers@kiln.invalid>}

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
DESTDIR=$tree PREFIX=/usr SYSCONFDIR=/etc ZSHDIR=/usr/share/zsh/vendor-completions "$here/stage.sh" "$kiln" "$version" "$seconds" >/dev/null

documents=$tree/usr/share/doc/kiln
gzip -9n <"$documents/CHANGELOG.md" >"$documents/changelog.gz"
rm "$documents/CHANGELOG.md"
# kiln has one list of changes; this one is of the package, which changes nothing.
gzip -9n >"$documents/changelog.Debian.gz" <<END
kiln ($debian) unstable; urgency=medium

  * kiln $version, as it was released: see changelog.gz.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$seconds")
END
install -D -m 644 "$here/debian/lintian-overrides" "$tree/usr/share/lintian/overrides/kiln"

mkdir "$tree/DEBIAN"
cp "$here/debian/conffiles" "$tree/DEBIAN/conffiles"
install -m 755 "$here/debian/prerm" "$tree/DEBIAN/prerm"
cat >"$tree/DEBIAN/control" <<END
Package: kiln
Version: $debian
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
$(cat "$here/debian/control")
END
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum) >"$tree/DEBIAN/md5sums"

mkdir -p "$directory"
find "$tree" -exec touch -h -d "@$seconds" {} +
package=$directory/kiln_${debian}_$architecture.deb
SOURCE_DATE_EPOCH=$seconds dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
"$here/sums.sh" "$directory" "$version"
echo "$package"
