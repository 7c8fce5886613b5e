#!/bin/busybox sh
# The first and only process of a guest. By kiln.part of the kernel's command line: checks what kiln finds and says on this kernel, and
# runs the kernel tests that count, with small loads; runs the others; or measures. What it finds goes, line by line, to the second
# serial port: subject, check, result, words; separated by tabs.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
stty -F /dev/ttyS1 raw 2>/dev/null
ip link set lo up
ulimit -n 4096

result() { printf '%s\t%s\t%s\t%s\n' "$@" >/dev/ttyS1; }
finish() {
  result guest end done "$(cut -d' ' -f1 /proc/uptime) s"
  poweroff -f
}
told() { sed -n "s/.*kiln\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

part=$(told part)
# What times of this guest are worth.
case $(told accelerator) in
  tcg*)
    clock="emulated ($(told accelerator)): many times what a machine takes"
    export KILN_TEST_EMULATED=1
    ;;
  *) clock="on $(told accelerator)" ;;
esac
result guest boot done "$(uname -r)"
[ "$part" != boot ] || finish
cd /tmp

# A session.json as lines `path value`, a line each number or string.
flatten() {
  awk '{
    depth = (match($0, /[^ ]/) - 1) / 2
    if (match($0, /"[^"]*" : /)) { name[depth] = substr($0, RSTART + 1, RLENGTH - 5); value = substr($0, RSTART + RLENGTH) } else next
    if (value ~ /^[{[]$/) next
    path = name[1]
    for (i = 2; i <= depth; i++) path = path "/" name[i]
    sub(/,$/, "", value)
    print path, value
  }' "$1"
}
# recorded PATH: of the last session.
recorded() { flatten session/session.json | sed -n "s|^$1 \(.*\)|\1|p"; }

# Run kiln with the given arguments while $load runs; what it says is in /tmp/said, its session in /tmp/session.
session() {
  rm -rf session said
  kiln redis -p "$server" -o session -F 0 --no-syscalls "$@" >shown 2>said &
  kiln=$!
  until grep -q ': attached to' said || ! kill -0 $kiln 2>/dev/null; do sleep 0.1; done
  if ! grep -q ': attached to' said; then
    wait $kiln
    return 1
  fi
  eval "$load" >loaded 2>&1 || { echo "the load failed: $(tail -n 1 loaded)" >said; kill $kiln; wait $kiln; return 1; }
  kill -INT $kiln
  wait $kiln
}

# Whether this kernel has what a hook stands on: asked of the kernel, so that a kiln that can't attach any more doesn't pass.
offers() {
  grep -q ' bpf_loop$' /proc/kallsyms || return 1
  [ "$1" != socket ] || grep -qa btf_trace_sock_recv_length /sys/kernel/btf/vmlinux
}

# check_refusal SUBJECT CHECK WORDS OPTIONS...: `kiln redis` says WORDS in one line, and fails.
check_refusal() {
  subject=$1 check=$2 words=$3
  shift 3
  kiln redis -p "$server" -d 1 -o refused "$@" >shown 2>said
  status=$?
  if [ $status = 1 ] && [ "$(wc -l <said)" = 1 ] && grep -q "$words" said && [ ! -e refused ]; then
    result "$subject" "$check" passed "$(cat said)"
  else
    result "$subject" "$check" failed "status $status: $(head -n 1 said)"
  fi
}

# loaded_objects: what the last session loaded, each object with its time: `redis 41.2 ms, ...`.
loaded_objects() {
  awk -F '  +' '
    /^OBJECT .* loaded in$/ { inside = 1; next }
    /^refused: / { inside = 0 }
    inside { words = words (words ? ", " : "") $1 " " $NF }
    END { print words }' said
}

# How long attaching took and loading each object, and how many instructions the verifier followed: in all, and in each program.
check_attaching() {
  load=true
  if ! session --hook "$1" --verbose; then
    result "hook $1" attach failed "$(head -n 1 said)"
    sed 1d said >/dev/console
    return 1
  fi
  result "hook $1" 'attached after' "$(recorded cost/attach_s) s" "$clock"
  result "hook $1" 'loaded in' "$(loaded_objects)" "$clock"
  awk -F '  +' -v OFS='\t' -v hook="hook $1" '
    /^PROGRAM .* verified$/ { inside = 1; next }
    /^OBJECT / { inside = 0 }
    inside { gsub(/,/, "", $NF); total += $NF; words = words (words ? ", " : "") $1 " " $NF }
    END { print hook, "instructions verified", total, words }' said >/dev/ttyS1
  [ "$1" != fentry ] || return 0
  # What this kernel doesn't let programs of TLS do is no secret, and why.
  words=$(sed -n 's/^refused: TLS programs that switch off preemption, kiln uses others: //p' said)
  if [ -n "$words" ]; then
    result "hook $1" 'TLS with preemption off' 'no' "$words"
  else
    result "hook $1" 'TLS with preemption off' "$(grep -q ' bpf_preempt_disable$' /proc/kallsyms && echo yes || echo failed)" 'nothing was refused'
  fi
}

# A session that watches a share of the connections: its programs are loaded, TLS included, and what they count fits what came.
check_share() {
  load='redis-benchmark -q -t set -n 8009 -c 40'
  if ! session --hook "$1" --share 1/4; then
    result "hook $1" 'a share' failed "$(head -n 1 said)"
    return
  fi
  estimated=$(recorded commands/SET/estimate/calls_estimate)
  low=$(recorded commands/SET/estimate/calls_low)
  high=$(recorded commands/SET/estimate/calls_high)
  # Of intervals of 95 %, one in twenty doesn't contain the truth: twice as wide.
  fits=$(echo "${estimated:-0} ${low:-0} ${high:-0}" | awk '{ print 2 * $2 - $1 <= 8009 && 8009 <= 2 * $3 - $1 ? "passed" : "failed" }')
  ! grep -q "can't follow" said || fits=failed
  result "hook $1" 'a share' "$fits" "SET ${estimated:-none}, ${low:-?} to ${high:-?}, of 8,009; $(grep "can't follow" said | head -n 1)"
}

# Requests that come and go through io_uring.
check_io_uring() {
  io_uring_server 6390 >ring.log 2>&1 &
  ring=$!
  until grep -q ready ring.log; do
    kill -0 $ring 2>/dev/null || { result "hook $1" io_uring missing "$(tail -n 1 ring.log)"; return; }
    sleep 0.1
  done
  redis=$server
  server=$ring
  load='redis-benchmark -p 6390 -q -t get -n 503 -c 1'
  # Stacks are asked for, because a session of an unknown server ends after two seconds without requests, which are short here.
  if session --hook "$1" -F 1; then
    counted=$(recorded commands/GET/phases/service/count)
    lost=$(flatten session/session.json | grep '^lost/' | tr '\n' ' ')
    result "hook $1" io_uring "$([ "$counted$lost" = 503 ] && echo passed || echo failed)" "GET ${counted:-0} of 503, lost: ${lost:-nothing}"
  else
    result "hook $1" io_uring failed "$(head -n 1 said)"
  fi
  server=$redis
  kill $ring
}

# run_tests PART PATTERN: the kernel tests that match, with small loads; a result for each as it ends, and for each that is tried again. What they
# say is on the console.
run_tests() {
  KILN_TEST_LOAD=0.01 kiln-tests --testing-library swift-testing --filter "$2" 2>&1 </dev/null | tee /dev/console | awk -v OFS='\t' -v part="$1" '
    $1 == "RETRIED" { name = $NF; sub(/\(.*/, "", name); print "test", name ", again", "retried", attempt[name]; fflush(); next }
    ($2 != "Test" && $2 != "Suite") || $3 == "case" { next }
    { name = $3; sub(/\(.*/, "", name) }
    / recorded an issue / {
      if (!(name in issue)) { issue[name] = $0; sub(/.* recorded an issue /, "", issue[name]) }
      next
    }
    / recorded a known issue / { attempt[name] = $0; sub(/.* recorded a known issue /, "", attempt[name]); next }
    # A guest has all that they need.
    / skipped| was cancelled/ { print "test", name, "failed", $0; fflush() }
    $2 == "Test" && / (passed|failed) after / {
      words = $0
      sub(/.* (passed|failed) after /, "after ", words)
      if (match($0, /with [0-9]+ test cases?/)) words = substr($0, RSTART + 5, RLENGTH - 5) ", " words
      if (name == "run") { name = part; ended = 1 }
      print "test", name, / passed after / ? "passed" : "failed", words (name in issue ? " " issue[name] : "")
      fflush()
    }
    END { if (!ended) print "test", part, "failed", "they did not come to their end" }' >/dev/ttyS1
}

# A module's functions, called by a program that reads a disk in memory: they stand in its stacks by name, and belong to their module.
check_modules() {
  if [ ! -e /modules/brd.ko ]; then
    result modules 'named in stacks' missing "no brd.ko beside the kernel's image"
    return
  fi
  insmod /modules/brd.ko rd_nr=1 rd_size=65536 2>said || { result modules 'named in stacks' failed "$(head -n 1 said)"; return; }
  until [ -b /dev/ram0 ]; do sleep 0.1; done
  rm -rf recorded
  kiln record -F 999 -o recorded -- sh -c 'for i in $(seq 60); do dd if=/dev/ram0 of=/dev/null bs=1M iflag=direct status=none; done' >shown 2>said
  found=$(awk '$4 == "[brd]" { print $3 }' /proc/kallsyms | sort -u | while read -r name; do
    ! grep -qF ";${name}_[k]" recorded/stacks.folded || echo "${name}_[k]"
  done | paste -sd ' ' -)
  result modules 'named in stacks' "$([ -n "$found" ] && echo passed || echo failed)" "brd: ${found:-$(tail -n 1 said)}"
  run_tests 'modules' 'theRunningKernelsModulesHoldTheirFunctions'
}

# check SUBJECT CHECK FOUND EXPECTED: that what was found is what is right.
check() { result "$1" "$2" "$([ "$3" = "$4" ] && echo passed || echo failed)" "$3, right is $4; $(tail -n 1 said)"; }

# Programs of known numbers: system calls, executed programs, functions of the server.
check_other_subcommands() {
  rm -rf session
  kiln syscalls -o session -- dd if=/dev/zero of=/dev/null bs=1 count=1009 >shown 2>said
  check 'kiln syscalls' 'reads of a dd' "$(awk '$3 == "read" { gsub(/,/, "", $4); calls = $4 } END { print calls }' shown)" 1009
  kiln trace syscalls --json --call read -- dd if=/dev/zero of=/dev/null bs=1 count=503 >shown 2>said
  check 'kiln trace syscalls' 'reads of a dd' "$(grep -c '"returned":1[,}]' shown)" 503
  kiln trace exec -- sh -c 'i=0; while [ $i -lt 101 ]; do /bin/busybox true numbered $i; i=$((i + 1)); done' >shown 2>said
  check 'kiln trace exec' 'programs with their arguments' "$(grep -c 'busybox true numbered [0-9]* | exit status 0' shown)" 101
  for timed in '' --time; do
    rm -rf session said
    kiln functions -p "$server" setCommand getCommand $timed -o session --max-cost 100 >shown 2>said &
    kiln=$!
    until grep -q ': attached to' said || ! kill -0 $kiln 2>/dev/null; do sleep 0.1; done
    redis-cli -r 211 set key value >loaded
    kill -INT $kiln
    wait $kiln
    check "kiln functions $timed" 'calls of setCommand' "$(awk '$1 == "setCommand" { calls = $2 } END { print calls }' shown)" 211
  done
}

# The kernel's functions, by a program that makes a known number of reads.
check_kernel_functions() {
  rm -rf counted
  kiln functions kernel:vfs_read --max-cost 100 -o counted -- dd if=/dev/zero of=/dev/null bs=512 count=1009 >shown 2>said
  calls=$(awk '$1 == "kernel:vfs_read" { calls = $2 } END { print calls }' shown)
  result functions kernel:vfs_read "$([ "$calls" = 1,009 ] && echo passed || echo failed)" "${calls:-$(tail -n 1 said)} of 1,009 reads"
}

# The server's time for a GET: of those that come one by one, and of those in pipelines of 16.
time_gets() {
  for pipeline in 1 16; do
    before=$(cut -d' ' -f1 "/proc/$server/schedstat")
    redis-benchmark -q -t get -n $((pipeline * 8009)) -c 50 -P $pipeline >benchmark || return
    echo $((($(cut -d' ' -f1 "/proc/$server/schedstat") - before) / pipeline / 8009))
  done
}

# What a GET costs the server, with nothing attached and what each hook adds. Where time is counted in instructions
# (qemu -icount shift=0: a nanosecond for each), that is what it tells.
measure() {
  redis-cli config set hz 1 >loaded
  time_gets >unwatched
  time_gets >unwatched
  result instructions 'a GET alone; in pipelines of 16' "$(paste -sd ' ' unwatched)" 'nothing is attached'
  load=time_gets
  for hook in socket fentry syscall; do
    offers $hook || continue
    if session --hook $hook --no-tls --verbose; then
      result "hook $hook" 'loaded in, million instructions' "$(loaded_objects)" "emulated: a ms is a million instructions, the kernel's and libbpf's"
      result instructions "added by hook $hook" "$(paste loaded unwatched | awk '{ printf "+%d ", $1 - $2 }')" \
        "$(paste loaded unwatched | awk '{ printf "+%.1f %% ", ($1 - $2) * 100 / $2 }')"
    else
      result instructions "added by hook $hook" failed "$(head -n 1 said)"
    fi
  done
}

redis-server --port 6379 --save '' --appendonly no >redis.log 2>&1 &
server=$!
until redis-cli ping 2>/dev/null | grep -q PONG; do
  kill -0 $server || { result guest redis failed "$(tail -n 1 redis.log)"; finish; }
  sleep 0.1
done
case $part in
  measure)
    measure
    finish
    ;;
  others)
    ! offers syscall || check_modules
    # Debian's 6.1 is built without it.
    ! grep -q ' register_fprobe_ips$' /proc/kallsyms || check_kernel_functions
    ! offers syscall || run_tests 'all others' \
      'TLSTests/e|KernelTests/TraceTests/(e|replies)|aStockServersStacksAreWhole|pythonsStacksAreWhole|ServerEventTests|ServerWaitTests'
    finish
    ;;
esac

# What kiln finds here. A hook that doctor finds has to work; a program that the verifier rejects is a failure.
kiln doctor >doctor
awk -F '  +' '/^  (yes|no )  / { print $2 "\t" $3 "\t" $4 }' doctor | while IFS="$(printf '\t')" read -r present name words; do
  result capability "$name" "$present" "$words"
done
result doctor verdict "$(tail -n 1 doctor | grep -q 'can run here' && echo yes || echo no)" "$(tail -n 1 doctor)"
if grep -q '^       verifier: ' doctor; then
  result doctor 'verifier rejects nothing' failed "its last words are on the console"
  kiln doctor --json >/dev/console
fi

for hook in socket fentry syscall; do
  if ! offers $hook; then
    words='lists what it has'
    grep -q ' bpf_loop$' /proc/kallsyms || words='has no bpf_loop'
    check_refusal "hook $hook" 'is refused in one line' "$words" --hook $hook
    continue
  fi
  check_attaching $hook || continue
  check_share $hook
  [ $hook != fentry ] || check_io_uring $hook
done
! offers syscall || check_other_subcommands
! offers syscall || KILN_TEST_OPTIONS='-F 0 --no-syscalls --no-tls' run_tests 'all that count' \
  'CommandCountTests/(every|aStream|unix|theAppend|aReplicas)|ForeignServerTests|UnknownServerTests/text|PhaseTests/parts|PairingTests/errors|ClientTests/(every|requests|aClientThatSends)'
mount -t tmpfs tmpfs /sys/kernel/btf
check_refusal 'no BTF' 'is refused in one line' 'no BTF'
kill $server
finish
