// Draws the boxes and names of the view that viewer.js has laid out.
//
// Each row has a path for each paint: a browser that paints a part of the picture need not go through the boxes of other
// rows, and what is the same as before is not touched. In a group, lengths across are hundredths of a pixel.

const rowGroups = [];  // for each row its group, its paths by paint and what they were told last
function rowGroup(row) {
  if (!rowGroups[row]) {
    const group = svg("g", {}, boxes);
    const bands = difference && svg("path", { class: "bands", fill: "#1f2328", "fill-opacity": 0.6, d: "" }, group);
    rowGroups[row] = { group, bands, paths: [], told: [], top: null };
  }
  return rowGroups[row];
}
function showRow(row, texts, bandCommands) {
  const { group, bands, paths, told, top } = rowGroup(row);
  if (top !== rowTop(row)) {
    rowGroups[row].top = rowTop(row);
    group.setAttribute("transform", `translate(0,${rowTop(row)}) scale(0.01,1)`);
  }
  for (let paint = 0; paint < paints.length; paint++) {
    const text = texts[row * paints.length + paint];
    if (text === (told[paint] ?? "")) continue;
    if (!paths[paint]) {
      const { className, fill } = paints[paint];
      group.insertBefore(paths[paint] = svg("path", { class: className, ...(fill && { fill }) }), bands);
    }
    paths[paint].setAttribute("d", told[paint] = text);
  }
  if (bands) bands.setAttribute("d", bandCommands);
}
function draw() {
  const zoom = view.zoom, scale = width / total[zoom], origin = start[zoom];
  const rowTotal = Math.max(rows.length, rowGroups.length);
  rectangles.begin(count + rows.length);
  const bandCommands = new Array(rowTotal).fill("");
  const height = profile.rowHeight - 1;
  const texts = [];
  const band = (box, x, boxWidth) => {
    const { level, more } = judged(box);
    if (level === 0) return;
    const y = more ? 0 : height - bandHeight;
    const drawn = Math.round((boxWidth - 1) * 100);
    bandCommands[depth[box]] += `M${Math.round(x * 100)} ${y}h${drawn}v${bandHeight}h-${drawn}z`;
  };
  const emit = (paint, row, x, boxWidth) =>
    rectangles.add(row * paints.length + paint, x, Math.max(1, boxWidth > 3 ? boxWidth - 1 : boxWidth * 0.8));
  // Neighbours below a pixel are drawn together, up to a pixel at a time, in the paint of the first: nobody can tell
  // them apart, and a dense picture is drawn several times faster. A match is always drawn by itself.
  const runStart = new Float64Array(rows.length), runEnd = new Float64Array(rows.length);
  const runPaint = new Int32Array(rows.length).fill(-1);
  const flush = (row) => {
    if (runPaint[row] >= 0) emit(runPaint[row], row, runStart[row], runEnd[row] - runStart[row]);
    runPaint[row] = -1;
  };
  const add = (box, x, boxWidth) => {
    const found = matches !== null && matches[name[box]] === 1;
    const paint = found ? matchPaint : paintOf(box), row = depth[box];
    if (difference && boxWidth >= 2) band(box, x, boxWidth);
    if (found || boxWidth >= 1) {
      emit(paint, row, x, boxWidth);
    } else if (runPaint[row] >= 0 && x - runEnd[row] < 0.2 && x - runStart[row] < 1) {
      runEnd[row] = x + boxWidth;
    } else {
      flush(row);
      runStart[row] = x;
      runEnd[row] = x + boxWidth;
      runPaint[row] = paint;
    }
    const limit = Math.floor((boxWidth - 2 * labelPadding) / letter);
    if (limit >= minimumColumns) texts.push(box, x, limit, found);
  };
  for (let box = parent[zoom]; box >= 0; box = parent[box]) add(box, side, width);
  for (let box = zoom; box < end[zoom];) {
    const boxWidth = total[box] * scale;
    add(box, side + (start[box] - origin) * scale, boxWidth);
    box = boxWidth < smallestBox ? end[box] : box + 1;
  }
  for (let row = 0; row < rows.length; row++) flush(row);
  const drawn = rectangles.texts(rowTotal * paints.length, height);
  for (let row = 0; row < rowTotal; row++) showRow(row, drawn, bandCommands[row]);
  boxes.classList.toggle("searching", matches !== null);
  label(texts);
  hover(-1);
  outline(focusOutline, focusShown && inView(focused) ? focused : -1);
}
function label(texts) {
  const baseline = (profile.rowHeight - 1) / 2 + profile.fontSize * 0.35 - (difference ? labelRise : 0);
  let text = labels.firstElementChild;
  for (let index = 0; index < texts.length; index += 4) {
    text ??= svg("text", {}, labels);
    text.setAttribute("x", Math.round((texts[index + 1] + labelPadding) * 100) / 100);
    text.setAttribute("y", rowTop(depth[texts[index]]) + baseline);
    text.setAttribute("class", texts[index + 3] ? "found" : "");
    const sign = signOf(texts[index]);
    write(text, sign + cutName(name[texts[index]], texts[index + 2] - sign.length), texts[index]);
    text = text.nextElementSibling;
  }
  while (text) {
    const next = text.nextElementSibling;
    text.remove();
    text = next;
  }
}
// A name, as a link where it has one.
function write(text, words, box) {
  const { link, target } = attributesOf(box) ?? {};
  text.textContent = "";
  (link ? svg("a", { href: link, target, rel: "noopener" }, text) : text).textContent = words;
}
function outline(rect, box) {
  rect.setAttribute("visibility", box < 0 ? "hidden" : "visible");
  if (box < 0) return;
  const [x, boxWidth] = place(box);
  set(rect, { x, y: rowTop(depth[box]), width: Math.max(boxWidth - 1, 1), height: profile.rowHeight - 1 });
}
