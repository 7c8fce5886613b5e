#!/bin/sh
# Runs every test: first those that need nothing of the machine, target by target, then, alone, those with the real kernel and redis-server.
# `run.sh SWIFT quick` runs what needs neither root nor servers nor a browser. `run.sh SWIFT sanitized` runs the parsers, and the C that is
# compiled for user space, under AddressSanitizer, and the C under UndefinedBehaviorSanitizer. Tests that can't run are reported as skipped,
# with what is missing; Tests/skipped.sh finds them in what this prints. At the end stands how long each target took, and each suite of
# kernel tests.
set -eu
swift=${1:-swift}
part=${2:-all}
cd "$(dirname "$0")/.."

case $part in
# The scanners load unaligned words on purpose, which x86-64 and BPF allow.
sanitized)
  export LSAN_OPTIONS="suppressions=$PWD/Tests/leaks.supp:print_suppressions=0"
  set -- --scratch-path .build-sanitized --sanitize address \
    -Xcc -fsanitize=undefined -Xcc -fno-sanitize=alignment -Xcc -fno-sanitize-recover=undefined
  ;;
all | quick) set -- ;;
*) echo "usage: run.sh SWIFT [quick|sanitized]"; exit 64 ;;
esac
# The tests by their product: --build-tests would also compile protoc, which comes with swift-protobuf.
"$swift" build --product kilnPackageTests "$@"
tests=$("$swift" build --show-bin-path "$@")/kilnPackageTests.xctest
log=$(mktemp)
trap 'rm -f "$log" "$log.times" "$log.retried" "$log.issues"' EXIT
: >"$log.times" >"$log.retried" >"$log.issues"
failed=

# run NAME OPTION...: a group of tests. It fails as well where the options select none.
run() {
  name=$1
  shift
  begin=$(date +%s)
  { "$tests" --testing-library swift-testing "$@" 2>&1 && echo "== $name passed =="; } | tee "$log"
  if ! grep -aqx "== $name passed ==" "$log" || ! grep -aq 'Test run with [1-9]' "$log"; then
    failed="$failed $name"
    grep -a ' recorded an issue ' "$log" >>"$log.issues" || tail -n 3 "$log" >>"$log.issues"
  fi
  printf '%6d s  %s\n' $(($(date +%s) - begin)) "$name" >>"$log.times"
  grep -a '^RETRIED' "$log" >>"$log.retried" || true
}

report() {
  echo "== time by group =="
  cat "$log.times"
  if [ -s "$log.retried" ]; then
    echo "== tests that depend on time, and were tried again =="
    cat "$log.retried"
  fi
  # Failures are printed last, because a truncated log keeps its end.
  [ -z "$failed" ] || { cat "$log.issues"; echo "failed:$failed"; exit 1; }
}

# targets NAME...: with the options of this part.
targets() {
  for target; do
    case $part in
    all) run "$target" --filter "^$target\." --skip KernelTests ;;
    *) run "$target" --filter "^$target\." --skip KernelTests --skip BrowserTests --skip LiveTests ;;
    esac
  done
}

if [ "$part" = sanitized ]; then
  targets KilnBPFTests RESPTests PrintableTextTests KilnModelTests KilnSymbolsTests FlamegraphTests KilnReportTests KilnProfilesTests KilnMetricsTests KilnServerTests KilnHostsTests
else
  targets $(cd Tests && echo *Tests)
fi
[ "$part" = all ] && [ -z "$failed" ] || { report; exit 0; }

echo "== kernel tests =="
run KernelTests --filter KernelTests
sed -nE 's/.* Suite ([A-Za-z]+) (passed|failed) after ([0-9]+)\..* seconds.*/\3 \1/p' "$log" | grep -v ' KernelTests$' | sort -rn |
  while read -r seconds suite; do printf '%10d s  %s\n' "$seconds" "$suite"; done >>"$log.times"
report
