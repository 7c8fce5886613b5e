#!/bin/sh
# Tests of the packages: run.sh KILN VERSION DIRECTORY CACHE [SUITE...]. DIRECTORY has what `make deb` and `make dist` have made from KILN, CACHE gets Debian
# systems of these suites. What can't be had here is skipped, and says so.
set -u
kiln=$1
version=$2
directory=$3
cache=$4
shift 4
tests=$(dirname "$0")
package=$(ls "$directory/kiln_$(printf %s "$version" | tr - '~')-1_"*.deb)
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

started=$(date +%s)
"$tests/../../packaging/manual.sh" "$kiln" "$work/man" "$version" 0 && "$tests/pages.sh" "$kiln" "$work/man" || failed=1
"$tests/install.sh" "$kiln" || failed=1

lintian --no-cfg --allow-root --fail-on error "$package" && echo "passed: lintian finds no error" || { echo "failed: lintian"; failed=1; }

(cd "$directory" && sha256sum --quiet -c SHA256SUMS) && echo "passed: SHA256SUMS" || { echo "failed: SHA256SUMS"; failed=1; }
name=kiln-$version-linux-$(uname -m)
tar -C "$work" -xJf "$directory/$name.tar.xz" && "$work/$name/bin/kiln" --version | grep -qwF "$version" && echo "passed: the tarball's kiln runs" ||
  { echo "failed: the tarball's kiln doesn't run"; failed=1; }
"$tests/completions.sh" "$work/$name" || failed=1

for suite; do "$tests/debian.sh" "$package" $suite "$cache" || failed=1; done
echo "took $(($(date +%s) - started)) s"
exit $failed
