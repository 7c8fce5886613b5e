#!/bin/sh
# resvg_py 0.5.0 (PyPI, resvg): a <tspan display="none"> takes the text around it along; CairoSVG 2.9.1 leaves a hole of its width.
#
# Expected: SVG 2 (5.8, `display`): a tspan with display none is not drawn, takes no room, and the rest of the text is drawn where it would be
# without it. librsvg and browsers do that.
# Seen: resvg draws nothing of the text. CairoSVG draws the rest, but behind the width of what is hidden.
#
# Why it matters: a name whose part is hidden by a style vanishes or moves in converted pictures.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install resvg_py==0.5.0 CairoSVG==2.9.1 pillow==13.0.0 2>"$folder/log" ||
  { cat "$folder/log"; exit 2; }
"$folder/venv/bin/python" - <<'EOF' || exit $?
import io, sys
from PIL import Image
try:
    import cairosvg, resvg_py
except OSError as error:  # cairo itself is a package of the system
    print(error); sys.exit(2)

def extent(render, text):
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="300" height="40"><rect width="300" height="40" fill="#fff"/>'
           f'<text x="20" y="25" font-size="14" font-family="DejaVu Sans Mono, monospace">{text}</text></svg>')
    return Image.open(io.BytesIO(render(svg))).convert("L").point(lambda value: 255 if value < 160 else 0).getbbox()

hidden, plain = '<tspan display="none">long words</tspan>main', "main"
renderers = {"resvg": lambda svg: bytes(resvg_py.svg_to_bytes(svg_string=svg)), "cairosvg": lambda svg: cairosvg.svg2png(bytestring=svg.encode())}
boxes = {name: (extent(render, plain), extent(render, hidden)) for name, render in renderers.items()}
for name, (without, withHidden) in boxes.items(): print(name.ljust(9), "main:", without, " hidden tspan and main:", withHidden)
if boxes["resvg"][0] is None: sys.exit(2)  # no font at all
sys.exit(0 if boxes["resvg"][1] is None and boxes["cairosvg"][1][0] > boxes["cairosvg"][0][0] + 40 else 1)
EOF
