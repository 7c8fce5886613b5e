// Changes the view that viewer.js and boxes.js draw: pointer, keyboard, search and the address. Runs in the same function after it.

// Removes, in destroy(), the listeners on elements that the script did not make.
const ending = new AbortController();
const listen = (target, type, heard) => target.addEventListener(type, heard, { signal: ending.signal });

// Tooltip

let hovered = -1;
function hover(box) {
  if (box === hovered) return;
  hovered = box;
  outline(hoverOutline, box);
  if (box < 0) tipPlace.setAttribute("visibility", "hidden");
  else describe(box);
}
function describe(box) {
  tip.textContent = "";
  html("div", { class: "name" }, tip).textContent = shownName(box);
  if (box > 0) html("div", { class: "kind" }, tip).textContent = profile.kinds[kindLetter(box)] ?? "";
  const said = attributesOf(box);
  if (said?.title) html("div", { class: "said" }, tip).textContent = said.title;
  if (said?.link) html("div", { class: "kind" }, tip).textContent = said.link;
  const table = html("table", {}, tip);
  const line = (value, what) => {
    const row = html("tr", {}, table);
    html("td", {}, row).textContent = value;
    html("td", {}, row).textContent = what;
  };
  if (difference) {
    const { level } = judged(box);
    line(weight(exactBefore(box)), `${unit} before, ${percent(exactBefore(box), exactBefore(0))}`);
    line(weight(exactAfter(box)), `${unit} after, ${percent(exactAfter(box), exactAfter(0))}`);
    line(points(box), level === 0 ? "of share, within sampling noise" : "of share");
    return;
  }
  line(weight(exactTotal(box)), unit);
  line(percent(total[box], total[0]), `of ${profile.names[0]}`);
  if (box > 0) line(percent(total[box], total[parent[box]]), "of parent");
  if (fromLeaf) line(weight(exactOwn(box)), `not called, ${percent(exactOwn(box), total[0])} of ${profile.names[0]}`);
  else line(weight(exactOwn(box)), `self, ${percent(exactOwn(box), total[0])} of ${profile.names[0]}`);
}
function showTip(x, y) {
  const bounds = root.getBoundingClientRect();
  set(tipPlace, { width: Math.min(460, bounds.width - 20), height: 600, visibility: "visible" });
  const tipWidth = tip.offsetWidth, tipHeight = tip.offsetHeight;
  const left = x + 16 + tipWidth > bounds.width ? Math.max(4, x - 16 - tipWidth) : x + 16;
  // What reaches out of the picture or of the window is not seen.
  const foot = Math.min(bounds.height, window.innerHeight - bounds.top);
  set(tipPlace, { x: left, y: y + 18 + tipHeight < foot ? y + 18 : Math.max(4, y - 12 - tipHeight) });
}
function boxAt(x, y) {
  if (x < side || x >= side + width || y < top) return -1;
  const fromTop = Math.floor((y - top) / profile.rowHeight);
  const row = rows[inverted ? fromTop : rowCount() - 1 - fromTop];
  if (!row) return -1;
  const at = start[view.zoom] + (x - side) / width * total[view.zoom];
  let low = 0, high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (start[row[middle]] <= at) low = middle + 1; else high = middle;
  }
  const box = low > 0 ? row[low - 1] : -1;
  return box >= 0 && at < start[box] + total[box] ? box : -1;
}
function pointed(event) {
  const bounds = root.getBoundingClientRect();
  return [event.clientX - bounds.left, event.clientY - bounds.top];
}
listen(root, "pointermove", (event) => {
  const [x, y] = pointed(event);
  const box = barPlace.contains(event.target) ? -1 : boxAt(x, y);
  hover(box);
  if (box >= 0) showTip(x, y);
});
listen(root, "pointerleave", () => hover(-1));
listen(root, "click", (event) => {
  if (barPlace.contains(event.target) || event.target.closest("a")) return;
  const box = boxAt(...pointed(event));
  if (box < 0) return;
  focus(box, false);
  zoomTo(box);
});

// Zoom and walk

function zoomTo(box) {
  if (box === view.zoom) return;
  view.zoom = box;
  draw();
  tellView();
  remember(true);
}
function focus(box, visibly) {
  focused = box;
  focusShown = visibly;
  outline(focusOutline, visibly ? box : -1);
  set(focusOutline, { "aria-level": depth[box] + 1, "aria-label": sentence(box), "aria-selected": "true" });
  graph.setAttribute("aria-activedescendant", focusOutline.id);
  if (!visibly) return;
  const [x, boxWidth] = place(box);
  hovered = box;
  outline(hoverOutline, -1);
  describe(box);
  showTip(Math.min(Math.max(x, side) + Math.min(boxWidth, 80) / 2, side + width), rowTop(depth[box]) + 8);
  if (document.activeElement !== input) focusOutline.scrollIntoView?.({ block: "nearest" });
}
const wideEnough = (box) => place(box)[1] >= smallestBox;
function walk(key) {
  const current = focused >= 0 && inView(focused) ? focused : -1;
  if (current < 0 || key === "Home") return focus(key === "Home" ? 0 : view.zoom, true);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const row = rows[depth[current]];
    const next = row[row.indexOf(current) + (key === "ArrowRight" ? 1 : -1)];
    if (next !== undefined && inView(next) && wideEnough(next)) focus(next, true);
  } else if ((key === "ArrowUp") !== inverted) {
    // Into the widest child; on the way to the zoomed box, along that way.
    let best = -1;
    for (let child = current + 1; child < end[current]; child = end[child]) {
      if (inView(child) && (best < 0 || total[child] > total[best])) best = child;
    }
    if (best >= 0 && wideEnough(best)) focus(best, true);
  } else if (parent[current] >= 0) {
    focus(parent[current], true);
  }
}
function step(forward) {
  if (matches === null) return;
  const found = [];
  for (let box = 0; box < count; box++) {
    if (matches[name[box]] === 1) found.push(box);
  }
  if (found.length === 0) return;
  const next = found.findIndex((box) => box > focused);
  let last = found.length - 1;
  while (last >= 0 && found[last] >= focused) last--;
  const match = forward ? found[Math.max(next, 0)] : found.at(last);
  if (!inView(match) || place(match)[1] < 1) zoomTo(match);
  focus(match, true);
  focusOutline.scrollIntoView({ block: "nearest", inline: "nearest" });
}
function reset() {
  Object.assign(view, { zoom: 0, term: "" });
  input.value = "";
  focused = -1;
  focusShown = false;
  search();
  draw();
  remember(true);
}

// Search

function search() {
  find();
  const found = matches;
  host.onSearch?.(found && ((index) => found[index] === 1));
}
function find() {
  matches = null;
  input.classList.remove("wrong");
  input.removeAttribute("aria-invalid");
  set(regexButton, { "aria-pressed": view.regex });
  set(caseButton, { "aria-pressed": view.exactCase });
  previousButton.disabled = nextButton.disabled = true;
  if (view.term === "") return tellView();
  let test;
  if (view.regex) {
    try {
      const pattern = new RegExp(view.term, view.exactCase ? "u" : "iu");
      test = (text) => pattern.test(text);
    } catch (error) {
      input.classList.add("wrong");
      input.setAttribute("aria-invalid", "true");
      return tell("Not a regular expression: " + view.term, true);
    }
  } else {
    const term = view.exactCase ? view.term : view.term.toLowerCase();
    test = (text) => (view.exactCase ? text : text.toLowerCase()).includes(term);
  }
  matches = Uint8Array.from(profile.names, (text, index) => index > 0 && test(text) ? 1 : 0);
  previousButton.disabled = nextButton.disabled = false;
  // A match above another match covers the same samples: only the lower counts.
  let covered = 0, found = 0, uncounted = 0;
  for (let box = 0; box < count; box++) {
    if (matches[name[box]] !== 1) continue;
    found++;
    if (box < uncounted) continue;
    covered += total[box];
    uncounted = end[box];
  }
  tell(found === 0 ? "No match" : `Matched ${percent(covered, total[0])} in ${found.toLocaleString("en-US")} ${found === 1 ? "frame" : "frames"}`);
}
function searchAnew() {
  view.term = input.value.toWellFormed?.() ?? input.value;  // half a surrogate pair has no address
  search();
  draw();
  remember(false);
}
input.addEventListener("input", searchAnew);
regexButton.addEventListener("click", () => { view.regex = !view.regex; searchAnew(); });
caseButton.addEventListener("click", () => { view.exactCase = !view.exactCase; searchAnew(); });
previousButton.addEventListener("click", () => step(false));
nextButton.addEventListener("click", () => step(true));
flipButton.addEventListener("click", () => {
  inverted = !inverted;
  draw();
  remember(true);
});
endsButton.addEventListener("click", () => {
  view.cut = view.cut !== "left" ? "left" : profile.cut === "left" ? "auto" : profile.cut;
  showCut();
  draw();
  remember(true);
});
function showCut() {
  set(endsButton, { "aria-pressed": view.cut === "left" });
}
callersButton.addEventListener("click", () => {
  turn(!fromLeaf);
  search();
  arrange();
  remember(true);
});
// Shows the stacks from the root or from the leaves. Boxes of the one mean nothing in the other.
function turn(merged) {
  set(callersButton, { "aria-pressed": merged });
  if (merged === fromLeaf) return;
  showBoxes(merged);
  view.zoom = 0;
  focused = -1;
  focusShown = false;
}
resetButton.addEventListener("click", reset);
// Another command has other boxes: the view stays zoomed as far as the command has the frames on the way.
function chooseAndStay(command, phase) {
  const path = zoomPath();
  choose(command, phase);
  view.zoom = boxAtPath(path).box;
  search();
  arrange();
  remember(true);
}
commandSelect.addEventListener("change", () => chooseAndStay(Number(commandSelect.value), ""));
phaseSelect.addEventListener("change", () => chooseAndStay(view.command, phaseSelect.value));

// Address: the path of names, not coordinates, so that a link holds when the picture is made anew.

const segment = (box) =>
  encodeURIComponent(profile.names[name[box]] + ("up".includes(kindLetter(box)) ? "" : `_[${kindLetter(box)}]`));
function zoomPath() {
  const path = [];
  for (let box = view.zoom; box > 0; box = parent[box]) path.unshift(segment(box));
  return path;
}
// The last box of a path that there is, and the segment that no box above it has, or null.
function boxAtPath(path) {
  let box = 0;
  for (const wanted of path) {
    let child = box + 1;
    while (child < end[box] && segment(child) !== canonical(wanted)) child = end[child];
    if (child >= end[box]) return { box, missing: decoded(wanted) };
    box = child;
  }
  return { box, missing: null };
}
// What the address says of this picture.
function ownPart() {
  return "frame=" + zoomPath().join(";") + (view.term && "&search=" + encodeURIComponent(view.term))
    + (view.term && view.regex ? "&regex=1" : "") + (view.term && view.exactCase ? "&case=1" : "")
    + (fromLeaf ? "&view=callers" : "") + (inverted !== profile.inverted ? "&flip=1" : "")
    + (view.cut !== profile.cut ? "&cut=" + view.cut : "")
    + (view.command >= 0 ? "&command=" + encodeURIComponent(commands[view.command].name) : "")
    + (view.phase && "&phase=" + encodeURIComponent(view.phase));
}
// What was read or written last. It may name a frame that this profile does not have, and so differ from what is shown.
let known = "";
function remember(asNewEntry) {
  if (isSaved()) return;
  known = ownPart();
  host.writeAddress(known, { replace: !asNewEntry });
}
const isSaved = () => ownPart() === (host.readAddress() || "frame=");
function restore() {
  known = host.readAddress();
  const fields = {};
  for (const field of known.split("&")) {
    const at = field.indexOf("=");
    fields[field.slice(0, at)] = field.slice(at + 1);
  }
  inverted = profile.inverted !== (fields.flip === "1");
  view.cut = ["auto", "left", "right"].includes(fields.cut) ? fields.cut : profile.cut;
  showCut();
  const command = commands.findIndex((command) => command.name === decoded(fields.command ?? ""));
  const phase = decoded(fields.phase ?? "");
  choose(command, command >= 0 && partsOf(command, phase).length > 0 ? phase : "");
  turn(fields.view === "callers");
  const { box, missing } = boxAtPath(fields.frame ? fields.frame.split(";") : []);
  Object.assign(view, { zoom: box, term: decoded(fields.search ?? ""), regex: fields.regex === "1",
    exactCase: fields.case === "1" });
  input.value = view.term;
  search();
  if (fields.command && command < 0) tell("This profile has no such command: " + decoded(fields.command), true);
  else if (missing !== null) tell("This profile has no such frame: " + missing, true);
}
function decoded(text) {
  try { return decodeURIComponent(text); } catch (error) { return text; }
}
// Browsers and mail programs differ in which characters of an address they escape.
const canonical = (text) => encodeURIComponent(decoded(text));
listen(window, "hashchange", () => {
  if (host.readAddress() === known || isSaved()) return;
  restore();
  arrange();
});

// Keyboard

listen(standalone ? window : root, "keydown", (event) => {
  const typing = event.target === input;
  if ((event.key === "f" && (event.ctrlKey || event.metaKey) || event.key === "/") && !typing) {
    input.focus();
    input.select();
  } else if (event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (event.key === "Escape") {
    reset();
    hover(-1);
    if (typing) graph.focus();
  } else if (typing) {
    if (event.key !== "Enter") return;
    step(!event.shiftKey);
  } else if (event.target instanceof Element && barPlace.contains(event.target)) {
    return;
  } else if (event.key.startsWith("Arrow") || event.key === "Home") {
    walk(event.key);
  } else if (event.key === "Enter") {
    if (focused >= 0) zoomTo(focused);
  } else if (event.key === "n" || event.key === "N") {
    step(event.key === "n");
  } else {
    return;
  }
  event.preventDefault();
});

if (profile.fluid) root.setAttribute("width", "100%");
restore();
arrange();
if (matches === null && !status.classList.contains("wrong")) tellView();
// A picture taller than its window opens at its root, or at what its address names.
if (standalone && root.getBoundingClientRect().height > window.innerHeight) {
  const row = rowTop(depth[view.zoom]);
  if (view.zoom > 0) window.scrollTo(0, row - window.innerHeight / 2);
  else if (!inverted) window.scrollTo(0, root.getBoundingClientRect().height);
}
const resizes = new ResizeObserver(() => {
  if (Math.round(root.getBoundingClientRect().width) !== width + 2 * side) arrange();
});
resizes.observe(root);

return {
  search(term, regex = false) {
    view.regex = regex;
    input.value = term;
    searchAnew();
  },
  destroy() {
    ending.abort();
    resizes.disconnect();
    for (const made of [hoverOutline, focusOutline, status, barPlace, tipPlace]) made.remove();
    for (const drawn of [boxes, labels, foot]) drawn.textContent = "";
    graph.removeAttribute("aria-activedescendant");
  },
};
