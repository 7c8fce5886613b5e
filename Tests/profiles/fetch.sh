#!/bin/sh
# Installs the messages of OpenTelemetry and Perfetto for Python into CACHE/python, for tests of what kiln writes: fetch.sh CACHE
#
# What can't be had is said in one line on standard output; status 0 all the same. Tests that need it say that they did not run.
set -eu
cache=$1
mkdir -p "$cache"
cache=$(realpath "$cache")
[ ! -e "$cache/python" ] || exit 0

rm -rf "$cache/python.new"
if python3 -m pip install -q --no-compile --disable-pip-version-check --root-user-action=ignore --target "$cache/python.new" \
  opentelemetry-proto==1.45.2 perfetto==0.59.1 protobuf==7.36.2 >"$cache/pip.log" 2>&1; then
  mv "$cache/python.new" "$cache/python"
else
  echo "not to be had: opentelemetry-proto and perfetto for Python: $(tail -n 1 "$cache/pip.log")"
fi
