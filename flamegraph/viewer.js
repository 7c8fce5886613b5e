// Lays out the view of the profile that model.js has read.

const standalone = document.documentElement === root;
const side = 20, labelPadding = 4, minimumColumns = 3, footGap = 30, footLine = 19, bandHeight = 2, labelRise = 1.5;
const smallestBox = 0.1;  // pixels; what narrower boxes carry is left out

// What is shown. The address says the same, so that a link or the Back button restores it.
const view = { zoom: 0, term: "", regex: false, exactCase: false, cut: profile.cut, command: -1, phase: "" };
let inverted = profile.inverted;
let matches = null;       // for each name whether it matches, or null without a search
let focused = -1, focusShown = false;
let width = 0, top = 0, letter = 0;

const svg = (tag, attributes, into) => element(svgNamespace, tag, attributes, into);
const html = (tag, attributes, into) => element(htmlNamespace, tag, attributes, into);
function element(namespace, tag, attributes, into) {
  const made = document.createElementNS(namespace, tag);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (into) into.appendChild(made);
  return made;
}

// Texts

// Nanoseconds of a unit of time; undefined for counts.
const nanoseconds = { ns: 1, nanoseconds: 1, us: 1e3, microseconds: 1e3, ms: 1e6, milliseconds: 1e6 }[profile.unit];
const unit = nanoseconds ? "of time" : profile.unit;
// Three digits, in the largest unit of which there is one.
function duration(ns) {
  const [size, name] = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]].find(([size]) => ns >= size) ?? [1, "ns"];
  const count = ns / size;
  return `${count >= 100 ? Math.round(count).toLocaleString("en-US") : Number(count.toPrecision(3))} ${name}`;
}
function weight(value) {
  if (nanoseconds) return duration(Number(value) / 10 ** profile.decimals * nanoseconds);
  let digits = String(value), fraction = "";
  if (profile.decimals > 0) {
    digits = digits.padStart(profile.decimals + 1, "0");
    fraction = digits.slice(-profile.decimals).replace(/0+$/, "");
    digits = digits.slice(0, -profile.decimals);
  }
  return digits.replace(/\B(?=(\d{3})+$)/g, ",") + (fraction && "." + fraction);
}
function percent(part, whole) {
  const share = Number(part) / Number(whole) * 100;
  if (!(share > 0)) return "0 %";
  if (share < 0.005) return "<0.01 %";
  return (Number(part) === Number(whole) ? "100" : Math.min(share, 99.99).toFixed(2)) + " %";
}
const shownName = (box) => (profile.nameType && box > 0 ? profile.nameType + " " : "") + profile.names[name[box]];
function sentence(box) {
  if (!difference) return `${shownName(box)}, ${weight(exactTotal(box))} ${unit}, ${percent(total[box], total[0])} of ${profile.names[0]}`;
  return `${shownName(box)}, ${weight(exactBefore(box))} ${unit} before, ${weight(exactAfter(box))} after, ${points(box)}`;
}
// How the share of all changed from one profile to the other.
function points(box) {
  const share = (part, whole) => Number(whole) > 0 ? Number(part) / Number(whole) * 100 : 0;
  const change = share(exactAfter(box), exactAfter(0)) - share(exactBefore(box), exactBefore(0));
  return (change < 0 ? "−" : "+") + Math.abs(change).toFixed(2) + " points";
}

function columns(text) {
  let sum = 0;
  for (const character of text) sum += character.codePointAt(0) < 0x1100 ? 1 : 2;
  return sum;
}
function within(characters, limit) {
  let used = 0;
  const end = characters.findIndex((character) => (used += columns(character)) > limit);
  return end < 0 ? characters : characters.slice(0, end);
}
const prefix = (text, limit) => within([...text], limit).join("");
const suffix = (text, limit) => within([...text].reverse(), limit).reverse().join("");
function cut(text, limit) {
  return text.length * 2 <= limit || columns(text) <= limit ? text : prefix(text, limit - 1) + "…";
}
// A name without what tells least of it; the static picture cuts in the same way (NameCut.swift).
function cutName(index, limit) {
  const text = profile.names[index], from = profile.functionOf[index * 2], to = profile.functionOf[index * 2 + 1];
  if (text.length * 2 <= limit || columns(text) <= limit || text.length > 4096) return cut(text, limit);
  if (view.cut === "left") return "…" + suffix(text, limit - 1);
  if (view.cut === "right" || !(from < to)) return cut(text, limit);
  const head = text.slice(0, to), core = text.slice(from, to), tail = to < text.length ? "…" : "";
  const room = limit - tail.length;
  if (columns(head) <= room) return head + tail;
  if (columns(core) < room) return "…" + suffix(head, room - 1) + tail;
  return prefix(core, limit - 1) + "…";
}
function wrap(text, limit) {
  const lines = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line && line.length + 1 + word.length > limit) {
      lines.push(line);
      line = "";
    }
    line += line ? " " + word : word;
  }
  return line ? lines.concat(line) : lines;
}

// Parts of the picture

const graph = root.querySelector(".graph"), boxes = root.querySelector(".boxes");
const labels = root.querySelector(".labels"), foot = root.querySelector(".foot");
const headline = root.querySelector(".headline"), subtitle = root.querySelector(".subtitle");
const legend = root.querySelector(".legend");
if (profile.boxes) {
  legend.textContent = "";
  for (const [className, words, weight] of profile.boxes.legend) {
    if (className) svg("rect", { class: className, width: 11, height: 11, rx: 2 }, legend);
    svg("text", { class: className ? "ink" : "quiet" }, legend).textContent = words + (weight === undefined ? "" : " " + percent(weight, total[0]));
  }
}
for (const path of boxes.querySelectorAll("path")) path.remove();
boxes.setAttribute("shape-rendering", "crispEdges");  // halves the time to paint fifty thousand boxes
let serial = 0;
while (document.getElementById("flamegraph-focus-" + serial)) serial++;
const hoverOutline = svg("rect", { class: "outline", visibility: "hidden", rx: 2 }, graph);
const focusOutline = svg("rect", { class: "outline keyboard", visibility: "hidden", rx: 2, role: "treeitem",
  id: "flamegraph-focus-" + serial }, graph);
const status = svg("text", { class: "status", role: "status", "aria-live": "polite", "text-anchor": "end" }, root);
const barPlace = svg("foreignObject", { class: "controls", height: 36 }, root);
const bar = html("div", { class: "bar", role: "search" }, barPlace);
const input = html("input", { type: "search", placeholder: "Search  ( / )", "aria-label": "Search frames",
  spellcheck: "false", autocomplete: "off" }, bar);
const regexButton = button(".*", "Regular expression");
const caseButton = button("Aa", "Match case");
const previousButton = button("‹", "Previous match (N)");
const nextButton = button("›", "Next match (n)");
const flipButton = button("Flip", "Root at the top or at the bottom");
const callersButton = button("Callers", "Merge stacks from their leaves: who calls a function");
const endsButton = button("Ends", "Show the ends of names that don't fit");
const resetButton = button("Reset", "Show everything, end the search (Escape)");
const choices = html("div", { class: "bar choices", role: "group", "aria-label": "Commands" }, barPlace);
const tipPlace = svg("foreignObject", { class: "overlay", width: 1, height: 1, visibility: "hidden" }, root);
const tip = html("div", { class: "tip", role: "tooltip" }, tipPlace);
function button(text, label) {
  const made = html("button", { type: "button", title: label, "aria-label": label }, bar);
  made.textContent = text;
  return made;
}
root.setAttribute("role", "group");
graph.setAttribute("role", "tree");
graph.setAttribute("tabindex", "0");
graph.setAttribute("aria-label", "Stack frames. Arrow keys walk, Enter zooms, Escape resets.");

const rowCount = () => Math.max(rows.length, 4);
const rowTop = (row) => top + (inverted ? row : rowCount() - 1 - row) * profile.rowHeight;
const inView = (box) => box >= view.zoom && box < end[view.zoom]
  || start[box] <= start[view.zoom] && box < view.zoom && view.zoom < end[box];
// A box's left edge and width in the current view; what carries the zoomed box spans the graph.
function place(box) {
  if (box < view.zoom) return [side, width];
  const scale = width / total[view.zoom];
  return [side + (start[box] - start[view.zoom]) * scale, total[box] * scale];
}

// Fits everything to the width there is.
function arrange() {
  const full = Math.max(320, Math.round(root.getBoundingClientRect().width));
  const narrow = full < 900;
  width = full - 2 * side;
  // Beside the headline, or below it, in as many lines as it takes.
  const barWidth = narrow ? width : 620;
  set(barPlace, { x: full - side - barWidth, y: narrow ? profile.top - 36 : 16, width: barWidth });
  bar.classList.toggle("wrapped", narrow);
  const barHeight = Math.max(36, bar.offsetHeight) + choices.offsetHeight;
  // The legend is below all of it.
  const barShift = narrow ? barHeight + 8 : Math.max(0, 16 + barHeight + 14 - (profile.top - 18));
  set(barPlace, { height: barHeight });
  const legendTop = profile.top - 18 + barShift;
  const legendLines = arrangeLegend(legendTop);
  top = profile.top + barShift + (narrow ? 22 : 0) + (legendLines - 1) * footLine;
  if (letter === 0) {
    const probe = svg("text", {}, labels);
    probe.textContent = "m".repeat(50);
    letter = probe.getComputedTextLength() / 50 || profile.fontSize * 0.6;
    probe.remove();
  }
  fit(headline, profile.title, narrow ? width : width - barWidth - 20);
  if (subtitle) fit(subtitle, profile.subtitle, narrow ? width : width - barWidth - 20);
  set(status, { x: full - side, y: narrow ? top - 10 : legendTop });
  foot.textContent = "";
  let y = top + rowCount() * profile.rowHeight + footGap;
  for (const note of profile.foot) {
    for (const line of wrap(note, Math.floor(width / 6.4))) {
      svg("text", { class: "quiet", x: side, y }, foot).textContent = line;
      y += footLine;
    }
  }
  set(root, { viewBox: `0 0 ${full} ${y + 4}`, height: y + 4 });
  fitStatus();
  draw();
}
// Sets the legend's swatches and words in lines, and returns their number.
function arrangeLegend(y) {
  let x = side, line = 0;
  for (const item of legend.children) {
    if (item.tagName === "rect") {
      const words = item.nextElementSibling.getComputedTextLength();
      if (x + 17 + words > side + width && x > side) {
        x = side;
        line++;
      }
      set(item, { x, y: y + line * footLine - 10 });
      x += 17;
    } else {
      set(item, { x, y: y + line * footLine });
      x += item.getComputedTextLength() + 16;
    }
  }
  return line + 1;
}
function fit(text, words, limit) {
  text.textContent = words;
  const length = text.getComputedTextLength();
  if (length > limit) text.textContent = cut(words, Math.max(2, Math.floor(words.length * limit / length) - 1));
}
function set(target, attributes) {
  for (const key in attributes) target.setAttribute(key, attributes[key]);
}

let told = "", toldShortly = "";
function tell(text, wrong, shortly = text) {
  [told, toldShortly] = [text, shortly];
  status.classList.toggle("wrong", wrong === true);
  fitStatus();
}
function fitStatus() {
  const room = width < 860 ? width : width - legend.getBBox().width - 30;
  fit(status, told, room);
  if (status.textContent !== told) fit(status, toldShortly, room);
}
function tellView() {
  if (matches !== null) return;
  if (view.zoom > 0) tell("Zoomed to " + sentence(view.zoom));
  else if (view.command >= 0) tell(shareOfAll());
  else tell("Click a frame to zoom, / to search, arrow keys to walk", false, "Click to zoom, / to search");
}
