#!/bin/sh
# Writes a manual page of kiln and of each of its subcommands: manual.sh KILN DIRECTORY VERSION SECONDS. SECONDS since 1970 are the pages' date.
# What the pages say comes from the definitions of --help (manual.jq).
set -eu
kiln=$1
directory=$2
version=$3
date=$(date -u -d "@$4" +%F)
here=$(dirname "$0")

command -v jq >/dev/null || { echo "manual.sh: jq is missing: apt install jq" >&2; exit 1; }
definitions=$(mktemp)
trap 'rm -f "$definitions"' EXIT
"$kiln" --experimental-dump-help >"$definitions"
[ "$(jq .serializationVersion "$definitions")" = 0 ] || { echo "manual.sh: kiln describes itself in a format that manual.jq doesn't know" >&2; exit 1; }

mkdir -p "$directory"
jq -r '.command | recurse(.subcommands[]? | select(.shouldDisplay and .commandName != "help")) | (.superCommands // []) + [.commandName] | join("-")' "$definitions" |
  while read -r page; do
    jq -r --arg page "$page" --arg date "$date" --arg version "$version" -f "$here/manual.jq" "$definitions" >"$directory/$page.1"
    [ -s "$directory/$page.1" ] || { echo "manual.sh: no page of $page" >&2; exit 1; }
  done
