// Draws heatmaps. A map shows a grid: columns are time, rows are latency, or parts of a column's time; or it shows a series, a number for each
// column. The cells are drawn once into a canvas; what changes often (cursor, rectangles, marks of a search) lies over it.

// The grid of a map: { rows, columns, counts, most, lowest, low, high }: `counts` by row, the lowest first; `most` the largest; `lowest` the slot
// of the lowest row, where rows are slots. Where it is a series, { series, most }, with a value for each column.
async function gridOf(map, view, filters) {
  const { session, panel } = map;
  if (panel.kind === "command" && view.show !== "rate" && view.show !== "errors") {
    if (!map.grids.has(view.show)) map.grids.set(view.show, latencyGrid(map, view.show));
    return map.grids.get(view.show);
  }
  if (panel.kind === "command") {
    const command = session.commands[session.commandNumber.get(panel.command)];
    if (!command) return null;
    const numbers = view.show === "errors" ? command.errors : command.calls;
    const series = Float64Array.from(numbers, (count, tick) => count * 1000 / (session.tickEnd[tick] - session.tickStart[tick]));
    return { series, columns: session.ticks, most: series.reduce((most, value) => Math.max(most, value), 0) };
  }
  const sums = weightByTick(session, { command: panel.command, process: panel.process, low: null, high: null }, filters);
  const { rows, columns } = session, counts = new Float64Array(sums.length);
  let most = 0;
  for (let tick = 0; tick < sums.length; tick++) {
    counts[tick % rows * columns + Math.floor(tick / rows)] = sums[tick];
    most = Math.max(most, sums[tick]);
  }
  return { rows, columns, counts, most, isWork: true };
}

async function latencyGrid({ session, panel, range }, show) {
  const cells = await cellsOf(session, panel.command, show);
  if (!cells) return null;
  const { lowest, highest } = range(show), columns = session.ticks;
  let { counts } = cells;
  if (lowest < cells.lowest || highest > cells.highest) {
    counts = new Float64Array((highest - lowest + 1) * columns);
    counts.set(cells.counts, (cells.lowest - lowest) * columns);
  }
  return withPercentiles({ rows: highest - lowest + 1, columns, counts, most: cells.largest, lowest });
}

// The slots of a command's maps in a phase: the same in two sessions that are beside each other; null where neither has the phase.
function rangeOf(sessions, name, show) {
  const phases = sessions.flatMap((session) => session.commands[session.commandNumber.get(name)]?.phases.filter((phase) => phase.name === show) ?? []);
  if (phases.length === 0) return null;
  return { lowest: Math.min(...phases.map((phase) => phase.lowest)), highest: Math.max(...phases.map((phase) => phase.highest)) };
}

// Adds for each column the row of the median and of the 99th percentile, -1 without calls, and the number of calls.
function withPercentiles(grid) {
  const { rows, columns, counts } = grid;
  const total = new Float64Array(columns), low = new Int16Array(columns).fill(-1), high = new Int16Array(columns).fill(-1), reached = new Float64Array(columns);
  for (let at = 0, row = 0; row < rows; row++) for (let column = 0; column < columns; column++) total[column] += counts[at++];
  for (let at = 0, row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const count = counts[at++];
      if (count === 0) continue;
      reached[column] += count;
      if (low[column] < 0 && reached[column] >= Math.max(1, Math.ceil(total[column] * 0.5))) low[column] = row;
      if (high[column] < 0 && reached[column] >= Math.max(1, Math.ceil(total[column] * 0.99))) high[column] = row;
    }
  }
  return Object.assign(grid, { total, low, high });
}

// How high a map is: its own slots, each a pixel at least.
function heightOf(grid) {
  if (!grid) return 40;
  if (grid.series) return 96;
  if (grid.isWork) return grid.rows === 1 ? 34 : Math.max(150, grid.rows * Math.max(1, Math.floor(200 / grid.rows)));
  return grid.rows * Math.max(1, Math.min(8, Math.floor(150 / grid.rows)));
}

// Where a moment is, 0 to 1, and back.
const placeOf = (session, milliseconds) => (milliseconds - session.start) / (session.end - session.start);
const columnStart = (session, column) => session.tickStart[column * session.rows];
const columnEnd = (session, column) => session.tickEnd[column * session.rows + session.rows - 1];
// The column at a place; the nearest one, where there is none.
function columnAt(session, place) {
  const moment = session.start + place * (session.end - session.start);
  let low = 0, high = session.columns - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (columnEnd(session, middle) <= moment) low = middle + 1; else high = middle;
  }
  if (low > 0 && moment < columnStart(session, low) && moment - columnEnd(session, low - 1) < columnStart(session, low) - moment) return low - 1;
  return low;
}

// For each pixel across, the first and the last column that it shows; -1 for none.
function columnsAcross(session, width) {
  const first = new Int32Array(width).fill(-1), last = new Int32Array(width).fill(-1);
  for (let column = 0; column < session.columns; column++) {
    const left = Math.min(Math.round(placeOf(session, columnStart(session, column)) * width), width - 1);
    const right = Math.max(left + 1, Math.round(placeOf(session, columnEnd(session, column)) * width));
    for (let x = left; x < right && x < width; x++) {
      if (first[x] < 0) first[x] = column;
      last[x] = column;
    }
  }
  return { first, last };
}

// Draws the cells of a map, `most` being the count with the strongest colour.
function drawCells(map, most) {
  const { canvas, grid, session } = map;
  const { width, height } = sized(canvas, map.surface.clientWidth, heightOf(grid));
  const context = canvas.getContext("2d");
  if (!grid || width === 0 || session.columns === 0) return;
  if (grid.series) return drawSeries(context, map, width, height);
  const image = context.createImageData(width, height), out = new Uint32Array(image.data.buffer);
  const across = columnsAcross(session, width), { first, last } = across, { rows, columns, counts } = grid;
  const color = colorsOf(theme.isDark ? pixels.dark : pixels.light, grid.isWork ? Math.max(1, smallest(counts)) : 1, most);
  const line = new Uint32Array(width);
  for (let row = 0; row < rows; row++) {
    const bottom = height - Math.floor(row * height / rows), top = height - Math.floor((row + 1) * height / rows);
    if (top === bottom) continue;
    const base = row * columns;
    for (let x = 0; x < width; x++) {
      let count = 0;
      if (first[x] >= 0) for (let column = base + first[x]; column <= base + last[x]; column++) if (counts[column] > count) count = counts[column];
      line[x] = count === 0 ? 0 : color(count);
    }
    for (let y = top; y < bottom; y++) out.set(line, y * width);
  }
  if (grid.low) drawPercentiles(out, map, across, width, height);
  // Chromium prints what is drawn into a canvas, but not what is put there.
  const cells = new OffscreenCanvas(width, height);
  cells.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(cells, 0, 0);
}
// The colour of a count, which most cells have in common with others.
function colorsOf(ramp, least, most) {
  const known = new Uint32Array(4096);
  return (count) => {
    if (!(count < known.length) || !Number.isInteger(count)) return ramp[stepOf(count, least, most)];
    return known[count] || (known[count] = ramp[stepOf(count, least, most)]);
  };
}
const smallest = (counts) => counts.reduce((least, count) => (count > 0 && count < least ? count : least), Infinity);

// Empties the canvas, which has a pixel for each of the screen's. What is cleared with clearRect is white on paper, and covers what lies below.
function sized(canvas, width, height) {
  const scale = Math.min(window.devicePixelRatio || 1, 3);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  return { width: canvas.width, height: canvas.height };
}

// Draws the median and the 99th percentile into the picture: pixels, because stroking as many steps takes ten times as long as all cells.
function drawPercentiles(out, { grid }, { first }, width, height) {
  const unit = Math.max(1, Math.round(Math.min(window.devicePixelRatio || 1, 3))), [ink, paper] = theme.isDark ? [0xfff8b48a, 0xff100e0c] : [0xffd0570b, 0xfffafcfd];
  const thick = Math.max(2, Math.round(1.5 * unit));
  for (const [rowOf, dash] of [[grid.low, 0], [grid.high, 6 * unit]]) {
    const fill = (x, top, bottom, color) => { for (let y = Math.max(top, 0); y < Math.min(bottom, height); y++) out[y * width + x] = color; };
    const isIn = (x) => first[x] >= 0 && rowOf[first[x]] >= 0;
    const topOf = (x) => Math.round(height - (rowOf[first[x]] + 0.5) * height / grid.rows - thick / 2);
    // With a line of paper above and below, it is seen on every colour.
    for (let x = 0; x < width; x++) if (isIn(x)) fill(x, topOf(x) - unit, topOf(x) + thick + unit, paper);
    for (let x = 0; x < width; x++) if (isIn(x) && (dash === 0 || x % dash < dash * 0.6)) fill(x, topOf(x), topOf(x) + thick, ink);
  }
}

function drawSeries(context, { grid, session, panel }, width, height) {
  const { first, last } = columnsAcross(session, width);
  context.fillStyle = theme.isDark ? "#c43c4e" : "#e45a31";
  if (grid.most === 0) return;
  for (let x = 0; x < width; x++) {
    if (first[x] < 0) continue;
    let value = 0;
    for (let column = first[x]; column <= last[x]; column++) value = Math.max(value, grid.series[column]);
    const tall = value > 0 ? Math.max(1, Math.round(value / grid.most * (height - 4))) : 0;
    context.fillRect(x, height - tall, 1, tall);
  }
}

// A percentile's value, as Histogram.percentile has it: the middle of its slot, or the histogram's limit.
function percentileOf(grid, row) {
  const slot = grid.lowest + row;
  return slot >= overflowSlot ? slotLower(overflowSlot) : Math.floor((slotLower(slot) + slotLower(slot + 1)) / 2);
}

// The lines of the axis: places from the bottom, 0 to 1, and what stands there.
function axisOf(grid, session) {
  if (!grid) return [];
  if (grid.series) return grid.most > 0 ? [[0, "0"], [1 - 4 / 96, perSecond(grid.most)]] : [[0, "0"]];
  if (grid.isWork) return grid.rows === 1 ? [] : [[0, "0 ms"], [0.5, duration(session.data.ticks.intervalsPerTick * 5e8)]];
  const lines = [], top = grid.lowest + grid.rows;
  const place = (ns) => {
    const slot = slotOf(ns), lower = slotLower(slot);
    return (slot + (slot < overflowSlot ? (ns - lower) / (slotLower(slot + 1) - lower) : 0) - grid.lowest) / grid.rows;
  };
  for (let power = 0; power <= 10; power++) {
    for (const digit of top - grid.lowest > 130 ? [1] : [1, 2, 5]) {
      const ns = digit * 10 ** power, at = place(ns);
      if (at >= 0 && at < 1) lines.push([at, shortDuration(ns)]);
    }
  }
  if (top > overflowSlot) lines.push([(overflowSlot - grid.lowest) / grid.rows, "≥ 69 s"]);
  return lines;
}
const shortDuration = (ns) => duration(ns).replace(/\.0+ /, " ").replace(/(\.\d*?)0+ /, "$1 ");

// Moments at which a time axis has a line, so far apart as that `width` has room for their texts.
function timesOf(session, width) {
  const labelWidth = showsDays ? 120 : 92;
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500].concat([1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].map((step) => step * 1000));
  const length = session.end - session.start, step = steps.find((step) => length / step <= width / labelWidth) ?? 86400000 * Math.ceil(length / 86400000 / (width / labelWidth));
  const times = [];
  for (let time = Math.ceil(session.start / step) * step; time < session.end; time += step) times.push(time);
  return { times, step };
}

// Marks of a search: where matching stacks occur. In the view of service a band, elsewhere the foot of the column.
function drawMarks(map, places, view) {
  const { marks, grid, session, panel } = map;
  const { width, height } = sized(marks, map.surface.clientWidth, heightOf(grid)), context = marks.getContext("2d");
  const set = places?.get(panel.command ?? `process ${panel.process}`);
  if (!grid || !set || set.size === 0) return;
  const unit = Math.min(window.devicePixelRatio || 1, 3), hasBands = panel.kind === "command" && view.show === "service";
  context.fillStyle = hatch(context, unit);
  for (const place of set) {
    const tick = place % session.ticks, band = Math.floor(place / session.ticks) - 1, column = Math.floor(tick / session.rows);
    const left = Math.floor(placeOf(session, columnStart(session, column)) * width);
    const wide = Math.max(Math.ceil(placeOf(session, columnEnd(session, column)) * width) - left, 2 * unit);
    let top = height - 5 * unit, bottom = height;
    if (grid.isWork && grid.rows > 1) {
      top = height - (tick % session.rows + 1) * height / grid.rows;
      bottom = top + height / grid.rows;
    } else if (hasBands && band >= 0) {
      top = height - ((band + 1) * slotsPerBand - grid.lowest) * height / grid.rows;
      bottom = height - (band * slotsPerBand - grid.lowest) * height / grid.rows;
    }
    context.fillRect(left, Math.max(top, 0), wide, Math.min(bottom, height) - Math.max(top, 0));
  }
}
function hatch(context, unit) {
  const tile = document.createElement("canvas"), size = Math.round(4 * unit);
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  pen.strokeStyle = theme.isDark ? "#ff8fd0" : "#c2187e";
  pen.lineWidth = 1.4 * unit;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift - 1, size + 1);
    pen.lineTo(shift + size + 1, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
