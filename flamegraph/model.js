// Makes the picture it stands in fluid and interactive: zoom, search, tooltips, keyboard, links. Without it the
// picture is complete, so nothing here may be needed to read it. Text from the profile reaches the page through
// textContent only. The text of the script never changes with the profile: its hash can be listed in a policy.
//
// Files of one function, showFlamegraph(root, given, host): model.js reads the profile, viewer.js lays out the view,
// commands.js offers a choice of commands, rectangles.js and boxes.js draw its boxes, interaction.js changes it.
// A picture calls it once (svg.js); a page that draws what is selected in it calls it for each selection.
//
// - root: the <svg> of a picture, or one that flamegraphSkeleton made. Nothing else shows in it at the same time.
// - given: the profile, as SVGProfile.swift describes it; it is left as it is. Instead of `frames` it may have `boxes`,
//   typed arrays as boxesOf in stacks.js makes them.
// - host, what the page around it does:
//   - readAddress(): what writeAddress got last, or what a link says; "" for nothing.
//   - writeAddress(text, { replace }): keeps what is shown, `frame=main;read&search=x`, as fields of an address that are
//     escaped already. It begins with `frame=`, which is all of it for the view that is shown at first. `replace`: not as
//     an entry of the browser's history of its own.
//   - onSearch(isMatch), if there is one: the search is another. isMatch(index) says whether it finds the name of that
//     index in `names`; null without a search.
// The function listens to the window's hashchange, and reads the address anew.
//
// It returns { search(term, regex), destroy() }: search as if a person had typed it; destroy ends every listener and
// leaves the root as it was made, ready for another profile.

const svgNamespace = "http://www.w3.org/2000/svg", htmlNamespace = "http://www.w3.org/1999/xhtml";
// What stands for frames that were too narrow to be listed.
const hiddenName = given.names.length;
const profile = { ...given, names: [...given.names, "(narrower frames)"], paintOf: [...given.paintOf, 0] };
const kindLetters = profile.kindOf + "x";
const difference = profile.difference ?? null;

// Weights that are shown are exact, BigInt where need be; geometry is in floating point.
const exact = typeof profile.frames?.[2] === "string" ? BigInt : (value) => value;
const nothing = exact(0);

// Boxes, parents first: what each is, and where. `weights` holds total, own, before and own before of each.
class Boxes {
  constructor(depth, name, weights, start) {
    const count = depth.length;
    this.count = count;
    this.depth = Int32Array.from(depth);
    this.name = Int32Array.from(name);
    this.weights = weights;
    this.start = Float64Array.from(start);
    this.total = new Float64Array(count);
    this.parent = new Int32Array(count);
    this.end = new Int32Array(count);  // one past the last box above this one
    this.rows = [];
    const open = [];
    for (let box = 0; box < count; box++) {
      this.total[box] = Number(weights[box * 4]);
      while (open.length > depth[box]) this.end[open.pop()] = box;
      this.parent[box] = open.length > 0 ? open[open.length - 1] : -1;
      open.push(box);
      (this.rows[depth[box]] ??= []).push(box);
    }
    while (open.length > 0) this.end[open.pop()] = count;
  }
}

function asListed() {
  if (profile.boxes) return new Boxes(profile.boxes.depth, profile.boxes.name, profile.boxes.weights, profile.boxes.start);
  const stride = difference ? 7 : 5, count = profile.frames.length / stride;
  const depth = [], name = [], weights = [], start = [];
  for (let box = 0; box < count; box++) {
    const at = box * stride;
    depth.push(profile.frames[at]);
    name.push(profile.frames[at + 1]);
    start.push(Number(profile.frames[at + 2]));
    weights.push(exact(profile.frames[at + 3]), exact(profile.frames[at + 4]),
      difference ? exact(profile.frames[at + 5]) : nothing, difference ? exact(profile.frames[at + 6]) : nothing);
  }
  return new Boxes(depth, name, weights, start);
}

// What commands, or phases of one, have of the boxes: those with weight of theirs, laid out anew. In a part's pairs of place and
// weight, a place is twice a box's number, and one more for weight in frames above it that are not listed.
function ofParts(listed, parts) {
  const own = new Array(listed.count).fill(nothing), hidden = own.slice();
  for (const { places } of parts) {
    for (let at = 0, place = 0; at < places.length; at += 2) {
      place += places[at];
      (place % 2 === 1 ? hidden : own)[place >> 1] += exact(places[at + 1]);
    }
  }
  const sums = own.map((weight, box) => weight + hidden[box]);
  for (let box = listed.count - 1; box > 0; box--) sums[listed.parent[box]] += sums[box];
  const depths = [], names = [], weights = [], starts = [], next = new Float64Array(listed.count);
  for (let box = 0; box < listed.count; box++) {
    if (box > 0 && !(sums[box] > 0)) continue;
    next[box] = box > 0 ? next[listed.parent[box]] : 0;
    depths.push(listed.depth[box]);
    names.push(listed.name[box]);
    weights.push(sums[box], own[box], nothing, nothing);
    starts.push(next[box]);
    if (box > 0) next[listed.parent[box]] += Number(sums[box]);
  }
  return new Boxes(depths, names, weights, starts);
}

// The same stacks merged from their leaves: above each function those that call it. What passes through frames that
// are not listed is gathered under one name.
function fromLeaves(listed) {
  const { count, parent, end, name, weights } = listed;
  // A stack's end: the name of its leaf, the box of the frame below it, its weight and its weight before.
  const ends = [];
  for (let box = 1; box < count; box++) {
    const own = weights[box * 4 + 1], ownBefore = weights[box * 4 + 3];
    if (own > 0) ends.push({ name: name[box], below: parent[box], weight: own, before: ownBefore });
  }
  for (let box = 0; box < count; box++) {
    let weight = weights[box * 4] - weights[box * 4 + 1], before = weights[box * 4 + 2] - weights[box * 4 + 3];
    for (let child = box + 1; child < end[box]; child = end[child]) {
      weight -= weights[child * 4];
      before -= weights[child * 4 + 2];
    }
    if (weight > 0) ends.push({ name: hiddenName, below: box, weight, before });
  }
  const all = weights[0], minimum = Math.max(Number(all) * profile.minimum, 1);
  const depths = [0], names = [0], starts = [0], merged = [all, weights[1], weights[2], weights[3]];
  const groups = (list, at) => {
    const byName = new Map();
    for (const stack of list) {
      let group = byName.get(stack.name);
      if (!group) byName.set(stack.name, group = { name: stack.name, weight: nothing, before: nothing, stacks: [] });
      group.weight += stack.weight;
      group.before += stack.before;
      group.stacks.push(stack);
    }
    const sorted = [...byName.values()].filter((group) => Number(group.weight) >= minimum)
      .sort((a, b) => a.name === b.name ? 0 : profile.names[a.name] < profile.names[b.name] ? -1 : 1);
    for (const group of sorted) {
      group.start = at;
      at += Number(group.weight);
    }
    return sorted.reverse();
  };
  const open = groups(ends, 0).map((group) => ({ group, depth: 1 }));
  while (open.length > 0) {
    const { group, depth } = open.pop();
    depths.push(depth);
    names.push(group.name);
    starts.push(group.start);
    let own = nothing, ownBefore = nothing;
    const callers = [];
    for (const { below, weight, before } of group.stacks) {
      if (below > 0) {
        callers.push({ name: name[below], below: parent[below], weight, before });
      } else {
        own += weight;
        ownBefore += before;
      }
    }
    merged.push(group.weight, own, group.before, ownBefore);
    for (const caller of groups(callers, group.start)) open.push({ group: caller, depth: depth + 1 });
  }
  return new Boxes(depths, names, merged, starts);
}

const listedBoxes = asListed();
let chosenBoxes = listedBoxes, mergedBoxes = null;
// The boxes that are shown, by the names used everywhere below.
let count, depth, name, parent, end, start, total, rows, weights, fromLeaf = false;
function showBoxes(merged) {
  fromLeaf = merged;
  if (merged) mergedBoxes ??= fromLeaves(chosenBoxes);
  ({ count, depth, name, parent, end, start, total, rows, weights } = merged ? mergedBoxes : chosenBoxes);
}
// Shows some parts of the profile, or all for null.
function showParts(parts) {
  chosenBoxes = parts ? ofParts(listedBoxes, parts) : listedBoxes;
  mergedBoxes = null;
  showBoxes(fromLeaf);
}
showBoxes(false);
const exactTotal = (box) => weights[box * 4], exactOwn = (box) => weights[box * 4 + 1];
const exactBefore = (box) => weights[box * 4 + 2], exactAfter = (box) => weights[box * 4] - weights[box * 4 + 2];
const attributesOf = (box) => profile.attributes[name[box]];
const kindLetter = (box) => kindLetters[name[box]];

// Paints: pairs of a class and a colour of its own, if it has one.
const paints = [];
function paintIndex(className, fill) {
  const found = paints.findIndex((paint) => paint.className === className && paint.fill === fill);
  return found >= 0 ? found : paints.push({ className, fill }) - 1;
}
const paintOfName = difference ? null : (() => {
  const indices = [];
  for (let at = 0; at < profile.paints.length; at += 2) indices.push(paintIndex(profile.paints[at], profile.paints[at + 1]));
  return Int32Array.from(profile.paintOf, (paint) => indices[paint]);
})();
if (difference) {
  for (const className of ["n0", "r1", "r2", "r3", "r4", "b1", "b2", "b3", "b4"]) paintIndex(className, "");
}
const matchPaint = paintIndex("match", "");

// What may be said about a frame's weights in two profiles; the root, which is all, is never coloured. The static picture judges in the same way (Difference.swift).
function judged(box) {
  const unit = (difference.sample ?? 1) * 10 ** profile.decimals;
  const before = Number(exactBefore(box)) / unit, after = Number(exactAfter(box)) / unit;
  const change = Math.abs(after - before);
  const sign = before === after ? "" : before === 0 ? "✚" : after === 0 ? "✕" : after > before ? "▲" : "▼";
  if (box === 0 || difference.sample === null || change < 2 * Math.sqrt(Math.max(after, 1) + difference.scale * Math.max(before, difference.scale))) return { level: 0, more: after > before, sign };
  const share = change / Math.max(after, before);
  return { level: share < 0.1 ? 1 : share < 0.25 ? 2 : share < 0.5 ? 3 : 4, more: after > before, sign };
}
function paintOf(box) {
  if (!difference) return paintOfName[name[box]];
  const { level, more, sign } = judged(box);
  return level === 0 || sign === "" ? 0 : (more !== difference.negated ? 0 : 4) + level;
}
// Stands before a name: what the colour says, without colour.
function signOf(box) {
  if (!difference || box === 0) return "";
  const { level, sign } = judged(box);
  return sign === "" || (level === 0 && sign !== "✚" && sign !== "✕") ? "" : sign + " ";
}
