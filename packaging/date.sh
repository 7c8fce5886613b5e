#!/bin/sh
# Prints the date of a version in seconds since 1970: date.sh VERSION. That of its heading in CHANGELOG.md, `## 1.2.0, 2027-03-01`; of a version that is not
# released yet, that of the last commit, or without git that of CHANGELOG.md.
set -eu
cd "$(dirname "$0")/.."
day=$(awk -v heading="## $1, " 'index($0, heading) == 1 { print substr($0, length(heading) + 1) }' CHANGELOG.md)
if [ -n "$day" ]; then
  date -u -d "$day" +%s
else
  git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md
fi
