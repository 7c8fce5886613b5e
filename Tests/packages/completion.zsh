# Prints what zsh offers behind each argument, a line of a command: completion.zsh LINE... An interactive zsh on a terminal of its own completes;
# its compadd notes the matches.
zmodload zsh/zpty
results=$(mktemp)
zpty shell "TERM=dumb RESULTS=$results zsh -f -i"
zpty -w shell "$(<<'END'
PROMPT= ; autoload -Uz compinit; compinit -u -D
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  builtin compadd -A matches "$@"; print -rl -- $matches >>$RESULTS.matches; builtin compadd "$@"
}
finish() { print -r -- "$BUFFER" >>$RESULTS; BUFFER= }
zle -N finish; bindkey '^X' finish
bindkey '^I' list-choices
print ready >>$RESULTS
END
)"
# await PATTERN: until the shell has written it.
await() { local i; for i in {1..200}; do grep -qxF -- "$1" $results && return; sleep 0.05; done; print -u2 "zsh did not answer: $1"; exit 1 }
await ready
for line; do
  : >$results.matches
  zpty -w -n shell "$line"$'\t\x18'
  await "$line"
  print -r -- "$line: $(LC_ALL=C sort -u $results.matches | grep . | paste -sd' ')"
done
zpty -d shell
rm -f $results $results.matches
