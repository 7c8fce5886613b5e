#!/bin/sh
# eu-stack (elfutils 0.188, Debian 12): with -i, functions of an anonymous namespace lose their namespace, class and arguments.
#
# Expected: -i ("show inlined function frames") adds frames for inlined functions; the frames that are there without it keep their names.
# Seen: without -i a frame is named by its symbol, demangled. With -i it is named by its debug information, and where that has no linkage
# name, as for what is in an anonymous namespace, by DW_AT_name alone: `one::Job::run` and `two::Job::run` are both `run`.
#
#   eu-stack       (anonymous namespace)::two::Job::run(int)   (anonymous namespace)::one::Job::run(int)   (anonymous namespace)::plain(int)
#   eu-stack -i    run                                         run                                         plain
#
# Why it matters: different functions become one, and dumps of both kinds can't be merged.
# Needs g++ and elfutils 0.188. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

version=$(eu-stack --version 2>/dev/null | sed -n '1s/.* //p') || true
[ "$version" = 0.188 ] || { echo "eu-stack ${version:-is not there}: this is about 0.188"; exit 2; }
cat >"$folder/a.cc" <<'EOF'
#include <unistd.h>
volatile int done;
namespace {
inline __attribute__((always_inline)) void inlined(int n) { pause(); done = n; }
namespace two { struct Job { __attribute__((noinline)) void run(int n) { inlined(n); done++; } }; }
inline __attribute__((always_inline)) void also_inlined(int n) { two::Job().run(n); done = n; }
namespace one { struct Job { __attribute__((noinline)) void run(int n) { also_inlined(n); done++; } }; }
__attribute__((noinline)) void plain(int n) { one::Job().run(n); done++; }
}
int main() { plain(1); return done; }
EOF
g++ -g -O1 -o "$folder/a" "$folder/a.cc" || { echo "there is no g++"; exit 2; }
"$folder/a" &
pid=$!
sleep 1
names() { eu-stack "$@" -p "$pid" | sed -n 's/^#[0-9]* *0x[0-9a-f]* *//p' | grep -w -e run -e plain | tr '\n' ' '; }
plain=$(names)
inlines=$(names -i)
echo "eu-stack: $plain"
echo "eu-stack -i: $inlines"
space="(anonymous namespace)"
[ "$plain" = "$space::two::Job::run(int) $space::one::Job::run(int) $space::plain(int) " ] && [ "$inlines" = "run run plain " ]
