#!/bin/sh
# Boots each kernel under qemu, checks kiln inside, and prints a table: run.sh KILN KERNEL...; `all`: those that fetch.sh knows.
# Exit status: 0 all that ran passed, 1 something failed, 3 nothing failed, but not every kernel ran.
set -eu
kiln=$1
shift
[ "$*" != all ] || set -- 5.10 6.1 6.12
here=$(dirname "$(realpath "$0")")
cache=${KILN_KERNELS:-.build-kernels}
mkdir -p "$cache"
"$here/initramfs.sh" "$kiln" "$cache/initramfs.gz"

# boot IMAGE LOG RESULTS SECONDS ACCELERATOR WORDS. An emulator with a thread for each CPU runs kernel code that another CPU is just
# patching (a panic "int3" after probes were attached, seen with QEMU 7.2; the kernel's own testers met it too): one thread for all.
boot() {
  : >"$2"
  : >"$3"                        # what an earlier run found is no result of this one
  timeout "$4" qemu-system-x86_64 -accel "$5" -cpu "$([ "$5" = kvm ] && echo host || echo max)" -smp 2 -m 1536 -display none -no-reboot \
    -monitor none -nic none -serial "file:$2" -serial "file:$3" -kernel "$1" -initrd "$cache/initramfs.gz" \
    -append "console=ttyS0 panic=-1 quiet $6" </dev/null >"$2.qemu" 2>&1 || true
}

accelerator="" failed=0 missed="" all=""
for name in "$@"; do
  log=$cache/$(basename "$name")
  if ! image=$("$here/fetch.sh" "$name" "$cache" 2>"$log.fetch"); then
    echo "Linux $name: not run: $(cat "$log.fetch")"
    missed="$missed $name"
    continue
  fi
  if [ -z "$accelerator" ]; then
    # KVM may be there and not work, as in some virtual machines.
    accelerator=tcg,thread=single
    if [ -w /dev/kvm ]; then
      boot "$image" "$log.console" "$log.results" 20 kvm kiln.only_boot
      ! grep -q '^guest.end' "$log.results" 2>/dev/null || accelerator=kvm
    fi
  fi
  boot "$image" "$log.console" "$log.results" 1200 "$accelerator" ""
  all="$all $log.results"
  echo "Linux $(awk -F'\t' '$1 == "guest" && $2 == "boot" { print $4 }' "$log.results") ($accelerator; console in $log.console)"
  awk -F'\t' '$3 != "done" && $3 != "yes" { printf "  %-12s  %-30s  %-7s  %s\n", $1, $2, $3, $4 }' "$log.results"
  if ! grep -q '^guest.end' "$log.results"; then
    echo "  the guest did not come to its end; the console's last lines:"
    tail -n 5 "$log.console"
    failed=1
  fi
  ! cut -f3 "$log.results" | grep -q '^failed$' || failed=1
done

# A row for each capability and check, a column for each kernel.
# shellcheck disable=SC2086
[ -z "$all" ] || awk -F'\t' '
  $2 == "boot" { kernels[++columns] = $4; if (length($4) > width) width = length($4); next }
  $3 == "done" { next }
  { row = $1 ": " $2; if (!(row in seen)) { seen[row]; rows[++count] = row } cell[row, columns] = $3 }
  END {
    printf "\n%-42s", ""
    for (c = 1; c <= columns; c++) printf "  %-" width "s", kernels[c]
    print ""
    for (r = 1; r <= count; r++) {
      printf "%-42s", rows[r]
      for (c = 1; c <= columns; c++) printf "  %-" width "s", (rows[r], c) in cell ? cell[rows[r], c] : "-"
      print ""
    }
  }' $all

[ -z "$missed" ] || echo "not run:$missed"
[ "$failed" = 0 ] || { echo "failed: see above"; exit 1; }
[ -z "$missed" ] || exit 3
