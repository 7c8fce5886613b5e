// Mouse, touch and keyboard in a map: a cursor, and rectangles that snap to columns and, where stacks are kept apart by latency, to bands.

// Whether the rows of a map select stacks.
const hasBands = (map, view) => map.panel.kind === "command" && view.show === "service" && map.grid !== null && !map.grid.series;
const hasParts = (map) => map.grid?.isWork === true && map.session.rows > 1;

// The column and row at a point of the window.
function cellAt(map, x, y) {
  const bounds = map.surface.getBoundingClientRect();
  const across = Math.min(Math.max((x - bounds.left) / bounds.width, 0), 1), up = 1 - (y - bounds.top) / bounds.height;
  const rows = map.grid?.rows ?? 1;
  return { column: columnAt(map.session, across), row: Math.min(Math.max(Math.floor(up * rows), 0), rows - 1) };
}

// The selection of a rectangle between two cells.
function selectionOf(map, view, one, other) {
  const { session, panel, grid } = map;
  const [left, right] = [one.column, other.column].sort((a, b) => a - b), [bottom, top] = [one.row, other.row].sort((a, b) => a - b);
  const selection = { session: session.index, command: panel.command, process: panel.process, from: columnStart(session, left), to: columnEnd(session, right), low: null, high: null,
    below: null, above: null };
  if (hasBands(map, view) && session.data.stacksHaveTime) {
    const low = bandOf(grid.lowest + bottom), high = bandOf(grid.lowest + top);
    // From the foot to the head of the map: the latency does not matter.
    if (low > bandOf(grid.lowest) || high < bandOf(grid.lowest + grid.rows - 1)) {
      selection.low = bandLower(low);
      selection.high = bandUpper(high);
    }
  } else if (hasParts(map) && (bottom > 0 || top < grid.rows - 1)) {
    selection.below = bottom / grid.rows;
    selection.above = (top + 1) / grid.rows;
  }
  return selection;
}

// Where a selection lies in a map, in shares of its width and height from the left and the bottom; null if it does not.
function rectangleOf(map, view, selection) {
  const { session, panel, grid } = map;
  if (!selection || selection.session !== session.index || selection.from === null && selection.low === null) return null;
  if (selection.command !== null && selection.command !== panel.command || selection.process != null && selection.process !== panel.process) return null;
  const left = Math.max(placeOf(session, selection.from ?? session.start), 0), right = Math.min(placeOf(session, selection.to ?? session.end), 1);
  if (!(right > left)) return null;
  let bottom = 0, top = 1;
  if (selection.low !== null && hasBands(map, view)) {
    bottom = Math.max((slotOf(selection.low) - grid.lowest) / grid.rows, 0);
    top = selection.high === null || selection.high === Infinity ? 1 : Math.min((slotOf(selection.high) - grid.lowest) / grid.rows, 1);
    if (!(top > bottom)) return null;
  } else if (selection.below != null && hasParts(map)) {
    [bottom, top] = [selection.below, selection.above];
  }
  return { left, right, bottom, top };
}
function placeRectangle(element, place) {
  element.hidden = place === null;
  if (place === null) return;
  const { style } = element, share = (value) => `${value * 100}%`;
  style.left = share(place.left);
  style.width = share(place.right - place.left);
  style.bottom = share(place.bottom);
  style.height = share(place.top - place.bottom);
}

// What a cell has, in words.
function describeCell(map, view, { column, row }) {
  const { session, grid, panel } = map;
  if (!grid || session.columns === 0) return [];
  const lines = [`${clock(columnStart(session, column))} to ${clock(columnEnd(session, column))}`];
  if (grid.series) {
    const command = session.commands[session.commandNumber.get(panel.command)];
    lines.push(`${counted(command.calls[column], "call")}, ${perSecond(command.calls[column] * 1000 / (columnEnd(session, column) - columnStart(session, column)))}`,
      counted(command.errors[column], "error"));
    return lines;
  }
  const count = grid.counts[row * grid.columns + column];
  if (grid.isWork) {
    if (grid.rows > 1) {
      const tick = column * grid.rows + row;
      lines[0] = `${clock(session.tickStart[tick], true)} to ${clock(session.tickEnd[tick], true)}`;
    }
    lines.push(weightText(session, selected.filters.kind, count));
    return lines;
  }
  const slot = grid.lowest + row;
  lines.push(`${view.show} ${latencyRange(slotLower(slot), slot >= overflowSlot ? Infinity : slotLower(slot + 1))}: ${counted(count, "call")}`);
  if (grid.total[column] > 0) {
    lines.push(`${counted(grid.total[column], "call")} in this column, p50 ${duration(percentileOf(grid, grid.low[column]))}, p99 ${duration(percentileOf(grid, grid.high[column]))}`);
  }
  const errors = session.commands[session.commandNumber.get(panel.command)]?.errors[column] ?? 0;
  if (errors > 0) lines.push(counted(errors, "error"));
  return lines;
}

// Lets a map be pointed at. `act`: choose(map, selection, asBaseline), clear(), tell(text), hover(map, lines, x, y) and view().
function listenTo(map, act) {
  const { surface } = map;
  let anchor = null, asBaseline = false;
  map.cursor = null;
  const drag = (event) => {
    const cell = cellAt(map, event.clientX, event.clientY);
    placeRectangle(map.draft, rectangleOf(map, act.view(), selectionOf(map, act.view(), anchor, cell)));
    return cell;
  };
  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !map.grid) return;
    anchor = cellAt(map, event.clientX, event.clientY);
    asBaseline = event.ctrlKey || event.metaKey || act.isComparing();
    map.draft.classList.toggle("baseline", asBaseline);
    surface.setPointerCapture(event.pointerId);
    drag(event);
  });
  surface.addEventListener("pointermove", (event) => {
    if (anchor) drag(event);
    if (map.grid) act.hover(map, describeCell(map, act.view(), cellAt(map, event.clientX, event.clientY)), event.clientX, event.clientY);
  });
  surface.addEventListener("pointerleave", () => act.hover(null));
  surface.addEventListener("pointercancel", () => {
    anchor = null;
    placeRectangle(map.draft, null);
  });
  surface.addEventListener("pointerup", (event) => {
    if (!anchor) return;
    const cell = drag(event), selection = selectionOf(map, act.view(), anchor, cell);
    map.cursor = { from: anchor, to: cell };
    anchor = null;
    placeRectangle(map.draft, null);
    showCursor(map, act.view(), false);
    act.choose(map, selection, asBaseline);
  });
  // Chromium on some systems opens a menu for a click with the control key.
  surface.addEventListener("contextmenu", (event) => { if (event.ctrlKey) event.preventDefault(); });

  surface.addEventListener("keydown", (event) => {
    if (!map.grid || map.session.columns === 0 || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], Home: [-Infinity, 0], End: [Infinity, 0], PageUp: [0, 4], PageDown: [0, -4] };
    if (moves[event.key]) {
      const step = hasBands(map, act.view()) ? slotsPerBand : 1, rows = map.grid.rows ?? 1;
      const start = map.cursor?.to ?? { column: 0, row: Math.min(Math.max(map.grid.low?.[0] ?? 0, 0), rows - 1) };
      const [across, up] = map.cursor ? moves[event.key] : [0, 0];
      const to = {
        column: Math.min(Math.max(start.column + across, 0), map.session.columns - 1), row: Math.min(Math.max(start.row + up * step, 0), rows - 1),
      };
      map.cursor = { from: event.shiftKey && map.cursor ? map.cursor.from : to, to };
      showCursor(map, act.view(), true);
      act.tell(describeCell(map, act.view(), to).join(", "));
    } else if (event.key === "Enter" && map.cursor) {
      act.choose(map, selectionOf(map, act.view(), map.cursor.from, map.cursor.to), event.ctrlKey || act.isComparing());
    } else if (event.key === "Escape") {
      map.cursor = null;
      showCursor(map, act.view(), false);
      act.clear();
    } else {
      return;
    }
    event.preventDefault();
  });
  surface.addEventListener("blur", () => showCursor(map, act.view(), false));
  surface.addEventListener("focus", () => { if (surface.matches(":focus-visible")) showCursor(map, act.view(), true); });
}
// The keyboard's cursor, as a rectangle of the cells that Enter selects.
function showCursor(map, view, isShown) {
  const place = isShown && map.cursor ? rectangleOf(map, view, selectionOf(map, view, map.cursor.from, map.cursor.to)) : null;
  placeRectangle(map.caret, place);
}
