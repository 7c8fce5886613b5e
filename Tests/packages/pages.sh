#!/bin/sh
# Whether the manual pages of KILN are what --help says, and without a warning: pages.sh KILN DIRECTORY. DIRECTORY has the pages, or pages.gz.
set -eu
kiln=$1
directory=$2
failed=0
fail() { echo "failed: $*"; failed=1; }
words=$(mktemp)
trap 'rm -f "$words"' EXIT

# The commands, as --help lists them.
listed() { "$kiln" help "$@" | sed -n '/^SUBCOMMANDS:/,/^$/p' | sed -nE 's/^  ([a-z][a-z-]*)( .*)?$/\1/p'; }
commands=$(for name in $(listed); do echo "$name"; for part in $(listed "$name"); do echo "$name $part"; done; done)

found=$(cd "$directory" && ls kiln*.1* | wc -l)
[ "$found" = $(($(echo "$commands" | wc -l) + 1)) ] || fail "$found pages, for $(echo "$commands" | wc -l) commands and kiln"

echo "$commands" | { echo; cat; } | {
  while read -r command; do
    page=$(ls "$directory/kiln$(echo " ${command}" | sed 's/ *$//; s/ /-/g')".1*)
    warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [ -z "$warnings" ] || fail "$page: $warnings"
    if command -v mandoc >/dev/null; then
      warnings=$(mandoc -T lint -W warning "$page") || fail "$page: $warnings"
    fi
    # shellcheck disable=SC2086 # words of a command
    LC_ALL=C.UTF-8 MANWIDTH=80 man -l "$page" | col -b >"$words"
    for option in $("$kiln" help $command | sed -nE 's/^  (-[^ ].*)/\1/p' | grep -oE '^(-[A-Za-z], )*(-[A-Za-z]|--[a-z0-9-]+)' | tr -d ',' | tr ' ' '\n' | sort -u); do
      grep -qE -- "^ +(-[A-Za-z], )*$option( |,|$)" "$words" || fail "$page doesn't have $option"
    done
    for default in $("$kiln" help $command | tr '\n' ' ' | grep -oE '\((values: [^;)]*; )?default: *[^ )]+\)' | grep -oE '[^ ]+\)$' | sort -u); do
      tr -s '\n ' '  ' <"$words" | grep -qF -- "$default" || fail "$page doesn't have the default $default"
    done
  done
  [ $failed = 0 ]
} || failed=1
[ $failed = 1 ] || echo "passed: $found manual pages say what --help says, without a warning"
exit $failed
