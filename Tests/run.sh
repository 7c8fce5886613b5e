#!/bin/sh
# Runs every test: first those that need nothing of the machine, then, alone, those with the real kernel and redis-server.
# Tests that can't run are reported as skipped, with what is missing; Tests/skipped.sh finds them in what this prints.
set -eu
swift=${1:-swift}
cd "$(dirname "$0")/.."

"$swift" build --build-tests
"$swift" test --skip-build --skip KernelTests
echo "== kernel tests =="
"$swift" test --skip-build --filter KernelTests
