// The boxes of what is selected in a page, for showFlamegraph: from all stacks of the page and a weight for each. A picture
// brings its own boxes (Layout.swift), which are laid out in the same way. Nothing here needs a document.

// The page's stacks in the order in which they are drawn, which is the same for every selection.
//
// A stack is its caller's stack and one more frame: `callers[s]` is the number of the caller's stack, lower than s, or -1 for an
// outermost frame; `frames[s]` is the index of the frame's name in `names.names`. `names` is what ProfileNames writes: its names are in
// the order of siblings. No two stacks are the same.
//
// Each stack has a node, and node 0 is the root: callers first, siblings by name. `place` is the node of each stack; `name`, `depth`,
// `parent` and `end`, one past the last node above it, are of each node. What has no way to an outermost frame has its place at the root.
function orderedStacks(callers, frames, names) {
  const count = callers.length;
  // Stacks by name, in two passes.
  const slots = new Int32Array(names.names.length + 1), byName = new Int32Array(count);
  for (let stack = 0; stack < count; stack++) slots[frames[stack] + 1]++;
  for (let name = 1; name < slots.length; name++) slots[name] += slots[name - 1];
  for (let stack = 0; stack < count; stack++) byName[slots[frames[stack]]++] = stack;
  // For each stack the first that it called, and the next with its caller; for callers, 0 is the root.
  const first = new Int32Array(count + 1).fill(-1), next = new Int32Array(count);
  for (let at = count - 1; at >= 0; at--) {
    const stack = byName[at], caller = callers[stack] + 1;
    next[stack] = first[caller];
    first[caller] = stack;
  }
  const place = new Int32Array(count), name = new Int32Array(count + 1), depth = new Int32Array(count + 1);
  const parent = new Int32Array(count + 1), end = new Int32Array(count + 1), trail = [];
  let nodes = 1, inside = 0, stack = first[0];
  while (true) {
    if (stack >= 0) {
      const node = nodes++;
      place[stack] = node;
      name[node] = frames[stack];
      depth[node] = depth[inside] + 1;
      parent[node] = inside;
      trail.push(stack);
      inside = node;
      stack = first[stack + 1];
    } else {
      end[inside] = nodes;
      if (inside === 0) break;
      stack = next[trail.pop()];
      inside = parent[inside];
    }
  }
  return { names, nodes, place, name, depth, parent, end };
}

// The boxes of a selection, `boxes` of the profile that showFlamegraph takes. `weights` has a weight for each stack, of what ended there:
// whole numbers, all together below 2^53.
//
// - minimum: boxes narrower than this share of all are left out; as in the picture unless it is given.
// - before: weights of a second selection, with which this one is compared; null for none. They are multiplied by `factor`, so that both
//   count for the same: `calls of this selection / calls of the second`. Then the profile needs `difference`, with that factor as `scale`.
// - decimals: weights are in units of 10^-decimals in the boxes, as the profile's `decimals` has to say. Weights that are multiplied are
//   rounded to one: samples need two digits, nanoseconds none.
//
// Besides what is drawn it has `weight`, of all; `frames`, how many have weight, drawn or not; `hiddenWeight`, of what passes through frames
// that are not drawn; and the legend. Where `weight` is 0 there is nothing to show.
function boxesOf(stacks, weights, { minimum = stacks.names.minimum, before = null, factor = 1, decimals = 0 } = {}) {
  const { names, nodes, name, depth, parent } = stacks;
  const own = weightsByNode(stacks, weights, 10 ** decimals);
  const ownBefore = before && weightsByNode(stacks, before, factor * 10 ** decimals);
  if (before) for (let node = 0; node < nodes; node++) own[node] += ownBefore[node];
  const total = withCallees(stacks, own), totalBefore = before && withCallees(stacks, ownBefore);
  const { drawn, frames, hiddenWeight } = drawnNodes(stacks, total, Math.max(total[0] * minimum, 1));
  const boxes = {
    depth: drawn.map((node) => depth[node]), name: drawn.map((node) => name[node]),
    start: new Float64Array(drawn.length), weights: new Float64Array(drawn.length * 4),
  };
  const left = new Float64Array(nodes);  // where the next box above each one begins
  for (let box = 0; box < drawn.length; box++) {
    const node = drawn[box];
    if (box > 0) {
      boxes.start[box] = left[node] = left[parent[node]];
      left[parent[node]] += total[node];
    }
    boxes.weights[box * 4] = total[node];
    boxes.weights[box * 4 + 1] = own[node];
    if (before) {
      boxes.weights[box * 4 + 2] = totalBefore[node];
      boxes.weights[box * 4 + 3] = ownBefore[node];
    }
  }
  return { ...boxes, weight: total[0], frames, hiddenWeight, legend: before ? names.changes : legendOf(stacks, own, boxes.name) };
}

// What ends at each node.
function weightsByNode({ nodes, place }, weights, factor) {
  const own = new Float64Array(nodes);
  for (let stack = 0; stack < place.length; stack++) {
    if (weights[stack] !== 0) own[place[stack]] += Math.round(weights[stack] * factor);
  }
  return own;
}

// What ends at each node and above it.
function withCallees({ nodes, parent }, own) {
  const total = own.slice();
  for (let node = nodes - 1; node > 0; node--) total[parent[node]] += total[node];
  return total;
}

// The root and the nodes that weigh at least so much, as all below them do.
function drawnNodes({ nodes, end }, total, least) {
  const drawn = new Int32Array(nodes);
  let count = 1, frames = 0, hiddenWeight = 0, hiddenUntil = 0;
  for (let node = 1; node < nodes; node++) {
    if (total[node] === 0) {
      node = end[node] - 1;
      continue;
    }
    frames++;
    if (node < hiddenUntil) continue;
    if (total[node] >= least) {
      drawn[count++] = node;
    } else {
      hiddenWeight += total[node];
      hiddenUntil = end[node];
    }
  }
  return { drawn: drawn.slice(0, count), frames, hiddenWeight };
}

// The kinds that are drawn, each with the class of its swatch and the weight that ends in frames of that kind. Processes are no code, and
// have no entry.
function legendOf({ names, nodes, name }, own, drawnNames) {
  const letters = new TextEncoder().encode(names.kindOf), weights = new Float64Array(128), isDrawn = new Uint8Array(128);
  for (let node = 1; node < nodes; node++) weights[letters[name[node]]] += own[node];
  for (const drawn of drawnNames) isDrawn[letters[drawn]] = 1;
  const kinds = Object.entries(names.kinds).map(([letter, label]) => [letter, label, letter.charCodeAt(0)])
    .filter(([letter, label, code]) => letter !== "p" && label !== "" && isDrawn[code]);
  return kinds.length > 0 ? [[null, "Self"], ...kinds.map(([letter, label, code]) => [letter + "2", label, weights[code]])] : [];
}
