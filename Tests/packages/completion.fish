# Prints what fish offers behind each argument, a line of a command: completion.fish LINE...
for line in $argv
    set words (complete -C $line | string split -f 1 \t | LC_ALL=C sort)
    echo "$line: $words"
end
