#!/bin/sh
# CairoSVG 2.9.1 (PyPI): `text-anchor` moves each element of a text by its own width, so that parts cover each other and leave their place.
#
# Expected: SVG 1.1 (10.9.1): text-anchor aligns a text chunk as a whole; a <tspan> or <a> without x or y begins no chunk.
#   <text x="120" text-anchor="end">ma<a href=…>in</a></text> ends at 120, as `main` does. librsvg, resvg and browsers draw it so.
# Seen: it ends well behind 120: `ma` is moved by its own width, and the link begins at the anchor and not behind it.
#
# Why it matters: a line that is aligned at its right and has a link in it leaves the picture when it is converted.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install CairoSVG==2.9.1 pillow==13.0.0 2>"$folder/log" || { cat "$folder/log"; exit 2; }
"$folder/venv/bin/python" - <<'EOF'
import io, sys
from PIL import Image
try:
    import cairosvg
except OSError as error:  # cairo itself is a package of the system
    print(error); sys.exit(2)

def extent(text):
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="300" height="40"><rect width="300" height="40" fill="#fff"/>'
           f'<text x="120" y="25" font-size="14" text-anchor="end" font-family="monospace">{text}</text></svg>')
    image = Image.open(io.BytesIO(cairosvg.svg2png(bytestring=svg.encode()))).convert("L")
    return image.point(lambda value: 255 if value < 160 else 0).getbbox()

plain, link, span = extent("main"), extent('ma<a href="http://x">in</a>'), extent("ma<tspan>in</tspan>")
for name, box in (("main", plain), ("ma, link in", link), ("ma, tspan in", span)): print(name.ljust(13), "from", box[0], "to", box[2])
sys.exit(0 if plain[2] <= 121 and link[2] > 125 and span[2] > 125 else 1)
EOF
