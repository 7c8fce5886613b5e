#!/bin/sh
# svglib 2.3.2 (PyPI): a style sheet that stands behind an element does not style it, and `!important` has no weight.
#
# Expected: SVG 2 (6.4): a <style> element's rules hold for the whole document, wherever it stands; CSS Cascade: `!important` wins.
# Seen: elements before the <style> keep their own colours; of two rules the later one wins, important or not.
#
#   <rect class="a"/><style>.a{fill:#00f}</style>                 black
#   <style>.a{fill:#00f!important} .a{fill:#f00}</style> <rect …>   red
#
# Why it matters: a picture's style has to stand before everything that it styles.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install svglib==2.3.2 2>"$folder/log" || { cat "$folder/log"; exit 2; }
cd "$folder"
venv/bin/python - <<'EOF'
from svglib.svglib import svg2rlg

def fill(body):
    open("t.svg", "w").write(f'<svg xmlns="http://www.w3.org/2000/svg" width="50" height="40">{body}</svg>')
    def fills(shape):
        if type(shape).__name__ == "Rect": yield shape.fillColor
        for part in getattr(shape, "contents", []): yield from fills(part)
    return next(fills(svg2rlg("t.svg"))).hexval()

rect = '<rect class="a" width="50" height="40"/>'
bodies = {
    '<style>.a{fill:#00f}</style>' + rect: "0x0000ff",
    rect + '<style>.a{fill:#00f}</style>': "0x000000",
    '<style>.a{fill:#00f!important} .a{fill:#f00}</style>' + rect: "0xff0000",
}
seen = {body: fill(body) for body in bodies}
for body, colour in seen.items(): print(colour, body)
raise SystemExit(0 if seen == bodies else 1)
EOF
