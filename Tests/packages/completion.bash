# Prints what bash offers behind each argument, a line of a command: completion.bash LINE... The completion is loaded as bash-completion does it.
. /usr/share/bash-completion/bash_completion
if declare -F _comp_load >/dev/null; then _comp_load kiln; else _completion_loader kiln; fi
function=$(complete -p kiln | sed 's/.* -F \([^ ]*\) .*/\1/')
for line; do
  COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
  read -ra COMP_WORDS <<<"$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  "$function" kiln "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  echo "$line: $(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | paste -sd' ')"
done
