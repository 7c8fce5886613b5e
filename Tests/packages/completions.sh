#!/bin/sh
# Whether bash, zsh and fish complete kiln as it is installed here, or below PREFIX: completions.sh [PREFIX]. Each shell is asked itself. A shell that is
# not here is skipped.
set -eu
if [ $# = 1 ]; then
  PATH=$1/bin:$PATH
  XDG_DATA_DIRS=$1/share:/usr/local/share:/usr/share
  FPATH=$1/share/zsh/site-functions:$(zsh -fc 'print -r -- $FPATH' 2>/dev/null || true)
  export PATH XDG_DATA_DIRS FPATH
fi
here=$(dirname "$(realpath "$0")")
failed=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir session-1
touch stacks.folded kiln.toml

expected='kiln re: record redis report
kiln rep: report
kiln trace re: redis
kiln collapse eu: eu-stack
kiln redis --max: --max-cost --max-wait
kiln trace redis --slower: --slower-than
kiln redis --hook : fentry socket syscall
kiln redis --off-cpu --state un: uninterruptible
kiln flamegraph sta: stacks.folded
kiln serve --config ki: kiln.toml
kiln report ses: session-1
kiln redis -o ses: session-1
kiln remote-s: 
kiln record --call-g: '

for shell in bash zsh fish; do
  if ! command -v $shell >/dev/null; then echo "skipped: completion of $shell, which is not here"; continue; fi
  set -f
  IFS='
'
  # shellcheck disable=SC2046 # a line is an argument
  set -- $(echo "$expected" | sed 's/: .*//')
  unset IFS
  set +f
  # Without the settings of whoever runs this.
  case $shell in
    bash) bash --norc "$here/completion.bash" "$@" ;;
    zsh) zsh -f "$here/completion.zsh" "$@" ;;
    fish) HOME=$folder/.home fish "$here/completion.fish" "$@" ;;
  esac | sed 's|/$||' >"$folder/.got"
  if echo "$expected" | diff - "$folder/.got"; then echo "passed: $shell completes"; else echo "failed: $shell completes otherwise (>)"; failed=1; fi
done
exit $failed
