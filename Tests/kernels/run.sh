#!/bin/sh
# Boots each kernel under qemu, checks kiln inside, runs the kernel tests there, and prints a table: run.sh KILN TESTS KERNEL...; `all`:
# those that fetch.sh knows. Exit status: 0 all that ran passed, 1 something failed, 3 nothing failed, but not every kernel ran.
set -eu
kiln=$1
tests=$2
shift 2
[ "$*" != all ] || set -- 5.10 6.1 6.12
here=$(dirname "$(realpath "$0")")
cache=${KILN_KERNELS:-.build-kernels}
mkdir -p "$cache"
"$here/initramfs.sh" "$kiln" "$tests" "$cache/initramfs"

# pack IMAGE LOG: LOG.initramfs, all that a guest needs and a module of its kernel, which Debian's packages have beside the image.
# Archives may follow each other there.
pack() (
  version=${1##*/vmlinuz-} root=$(dirname "$(dirname "$1")") packed=$(mktemp -d)
  trap 'rm -rf "$packed"' EXIT
  cp "$cache/initramfs" "$2.initramfs"
  module=$(find "$root/lib/modules/$version" "$root/usr/lib/modules/$version" -name 'brd.ko*' 2>/dev/null | head -n 1)
  [ -n "$module" ] || exit 0
  mkdir "$packed/modules"
  case $module in
    *.xz) xz -dc "$module" >"$packed/modules/brd.ko" ;;
    *) cp "$module" "$packed/modules/brd.ko" ;;
  esac
  (cd "$packed" && find modules | cpio --quiet -o -H newc) >>"$2.initramfs"
)

# boot IMAGE LOG PART SECONDS ACCELERATOR CPU OPTIONS...: a guest does its PART; its console and its results are LOG.PART.console and .results.
boot() (
  image=$1 initrd=$2.initramfs log=$2.$3 part=$3 seconds=$4 accelerator=$5 cpu=$6
  shift 6
  : >"$log.results"              # what an earlier run found is no result of this one
  timeout "$seconds" qemu-system-x86_64 -accel "$accelerator" -cpu "$cpu" -m 3072 -display none -no-reboot -monitor none -nic none \
    -serial "file:$log.console" -serial "file:$log.results" -kernel "$image" -initrd "$initrd" "$@" \
    -append "console=ttyS0 panic=-1 quiet kiln.accelerator=$accelerator kiln.part=$part" </dev/null >"$log.qemu" 2>&1 || true
  grep -q '^guest.end' "$log.results" || printf 'guest\tpart %s\tfailed\t%s\n' "$part" \
    "it did not come to its end; its console: $(tail -n 1 "$log.console" | tr -d '\r\t')" >>"$log.results"
)

accelerator="" failed=0 missed="" all=""
for name in "$@"; do
  log=$cache/$(basename "$name")
  if ! image=$("$here/fetch.sh" "$name" "$cache" 2>"$log.fetch"); then
    echo "Linux $name: not run: $(cat "$log.fetch")"
    missed="$missed $name"
    continue
  fi
  pack "$image" "$log"
  if [ -z "$accelerator" ]; then
    # An emulator with a thread for each CPU runs kernel code that another CPU is just patching (a panic "int3" after probes were
    # attached, seen with QEMU 7.2; the kernel's own testers met it too): one thread for all.
    accelerator=tcg,thread=single cpu=max
    # KVM may be there and not work, as in some virtual machines.
    if [ -w /dev/kvm ]; then
      boot "$image" "$log" boot 20 kvm host
      grep -q failed "$log.boot.results" || accelerator=kvm cpu=host
    fi
  fi
  # Two guests at once, each on a CPU of this machine.
  boot "$image" "$log" others 1500 "$accelerator" "$cpu" -smp 2 &
  boot "$image" "$log" counts 1500 "$accelerator" "$cpu" -smp 2
  wait
  # Of instructions: each takes a nanosecond of the guest's time. A CPU that copies bytes one by one in one instruction would count each.
  : >"$log.measure.results"
  ! grep -q '^hook socket.attached after' "$log.counts.results" ||
    boot "$image" "$log" measure 600 tcg,thread=single max,-erms,-fsrm -smp 1 -icount shift=0,sleep=off
  cat "$log.counts.results" "$log.others.results" "$log.measure.results" >"$log.results"
  rm -f "$log.initramfs"
  all="$all $log.results"
  echo "Linux $(awk -F'\t' '$2 == "boot" { print $4; exit }' "$log.results") ($accelerator; consoles in $log.*.console)"
  awk -F'\t' '$3 != "done" && $3 != "yes" { printf "  %-12s  %-40s  %-7s  %s\n", $1, $2, $3, $4 }' "$log.results"
  ! cut -f3 "$log.results" | grep -q '^failed$' || failed=1
done

# A row for each capability and check, a column for each kernel.
# shellcheck disable=SC2086
[ -z "$all" ] || awk -F'\t' '
  FNR == 1 { kernels[++columns] = $4; if (length($4) > width) width = length($4) }
  $3 == "done" { next }
  { row = $1 ": " $2; if (!(row in seen)) { seen[row]; rows[++count] = row } cell[row, columns] = $3 }
  END {
    printf "\n%-58s", ""
    for (c = 1; c <= columns; c++) printf "  %-" width "s", kernels[c]
    print ""
    for (r = 1; r <= count; r++) {
      printf "%-58s", rows[r]
      for (c = 1; c <= columns; c++) printf "  %-" width "s", (rows[r], c) in cell ? cell[rows[r], c] : "-"
      print ""
    }
  }' $all

[ -z "$missed" ] || echo "not run:$missed"
# Failures are printed last, because a truncated log keeps its end. $all is a list of paths without spaces.
if [ "$failed" != 0 ]; then
  # shellcheck disable=SC2086
  awk -F'\t' '$2 == "boot" { kernel = $4 } $3 == "failed" { printf "failed: Linux %s: %s: %s: %s\n", kernel, $1, $2, $4 }' $all
  exit 1
fi
[ -z "$missed" ] || exit 3
