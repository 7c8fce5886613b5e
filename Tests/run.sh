#!/bin/sh
# Runs every test: first those that need nothing of the machine, then, alone, those with the real kernel and redis-server.
# Kernel tests that can't run are reported as skipped, with the capability that is missing.
set -eu
swift=${1:-swift}
cd "$(dirname "$0")/.."

"$swift" build --build-tests
"$swift" test --skip-build --skip KernelTests
"$swift" test --skip-build --filter KernelTests
