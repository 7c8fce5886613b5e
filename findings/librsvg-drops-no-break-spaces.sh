#!/bin/sh
# librsvg 2.54.7 (Debian 12, librsvg2-bin): no-break spaces at the beginning of a text are dropped, in its middle they are kept.
#
# Expected: SVG 1.1 (10.15) and XML: only blanks, tabs and line feeds are white space that is collapsed; U+00A0 keeps its width, which is what
# people use it for in SVG. Chromium, CairoSVG and resvg draw it so.
# Seen: leading ones have no width; those between letters have.
#
#   main                     begins at 21
#   U+00A0 U+00A0 main       begins at 21, not at 37
#
# Why it matters: a name that begins with such a space is drawn like the one without.
# Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
version=$(dpkg-query -W -f '${Version}' librsvg2-bin 2>/dev/null || true)
case $version in 2.54.7*) ;; *) echo "librsvg2-bin 2.54.7 is not installed, but '$version'"; exit 2 ;; esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" -q install pillow==13.0.0 2>"$folder/log" || { cat "$folder/log"; exit 2; }
"$folder/venv/bin/python" - <<'EOF'
import io, subprocess
from PIL import Image

def extent(text):
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40"><rect width="200" height="40" fill="#fff"/>'
           f'<text x="20" y="25" font-size="14" font-family="monospace">{text}</text></svg>')
    png = subprocess.run(["rsvg-convert"], input=svg.encode(), stdout=subprocess.PIPE, check=True).stdout
    return Image.open(io.BytesIO(png)).convert("L").point(lambda value: 255 if value < 160 else 0).getbbox()

plain, leading, inner = extent("main"), extent("\u00a0\u00a0main"), extent("ma\u00a0\u00a0in")
for name, box in (("main", plain), ("leading", leading), ("inner", inner)): print(name.ljust(8), "from", box[0], "to", box[2])
raise SystemExit(0 if leading[0] == plain[0] and inner[2] > plain[2] + 10 else 1)
EOF
