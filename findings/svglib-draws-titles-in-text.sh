#!/bin/sh
# svglib 2.3.2 (PyPI): the words of <title>, <desc>, <metadata> and <script> inside <text> are drawn.
#
# Expected: SVG 2 (5.8, 5.9, 15.2): titles, descriptions, metadata and scripts are never drawn; all of them may stand inside <text> and <a>.
# Seen: their words become part of the text, before its own.
#
#   <text><title>hint</title>main</text>            draws hint main
#   <text><a href=…><title>hint</title>main</a></text>   draws hint main
#   <a href=…><title>hint</title><text>main</text></a>   draws main
#
# Why it matters: a link's title can't stand beside the name that it explains in pictures that are to be printed by svglib.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install svglib==2.3.2 2>"$folder/log" || { cat "$folder/log"; exit 2; }
cd "$folder"
venv/bin/python - <<'EOF'
from svglib.svglib import svg2rlg

def drawn(text):
    open("t.svg", "w").write(f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="40">{text}</svg>')
    def words(shape):
        if hasattr(shape, "text"): yield shape.text
        for part in getattr(shape, "contents", []): yield from words(part)
    return " ".join(words(svg2rlg("t.svg")))

texts = {
    '<text y="20">main</text>': "main",
    '<text y="20"><title>hint</title>main</text>': "hint main",
    '<text y="20"><desc>hint</desc>main</text>': "hint main",
    '<text y="20"><metadata>hint</metadata>main</text>': "hint main",
    '<text y="20"><script>hint</script>main</text>': "hint main",
    '<text y="20"><a href="http://x"><title>hint</title>main</a></text>': "hint main",
    '<a href="http://x"><title>hint</title><text y="20">main</text></a>': "main",
}
seen = {text: drawn(text) for text in texts}
for text, words in seen.items(): print(words.ljust(12), text)
raise SystemExit(0 if seen == texts else 1)
EOF
