// Puts the page together.

// What is drawn in a row: a command with its latencies, other work of the server, or a process.
function panelsOf(sessions) {
  const panels = new Map();
  const add = (key, panel) => { if (!panels.has(key)) panels.set(key, panel); };
  for (const session of sessions) for (const { name } of session.commands) add(name, { title: name, kind: "command", command: name, process: null });
  for (const session of sessions) {
    if (!session.data.stacksHaveTime) continue;
    for (const { command } of session.groups) if (command !== null) add(command, { title: command, kind: "work", command, process: null });
  }
  for (const session of sessions) {
    if (!session.data.stacksHaveTime) continue;
    for (const process of session.data.processes) add(`process ${process}`, { title: process, kind: "work", command: null, process });
  }
  return [...panels.values()];
}

// When what was drawn is on the screen. A page that is not seen is not painted.
const painted = () => new Promise((done) => {
  if (document.hidden) return done();
  requestAnimationFrame(() => setTimeout(done));
});

async function begin() {
  const data = await readJSON("page");
  const sessions = data.sessions.map((session, index) => sessionOf(session, index, data.sessions.length > 1 ? "AB"[index] : ""));
  const page = { sessions, flameAddress: "" };
  showsDays = sessions.some(({ start, end }) => moment(start).slice(0, 10) !== moment(end).slice(0, 10));
  const phases = [...new Set(sessions.flatMap((session) => session.commands.flatMap((command) => command.phases.map((phase) => phase.name))))];
  const shows = ["service", "queue", "exec", "reply", "total", "wait"].filter((name) => phases.includes(name));
  shows.push(...phases.filter((name) => !shows.includes(name)));
  if (sessions.some((session) => session.commands.length > 0)) shows.push("rate", "errors");
  // Kinds that have stacks, if any has: off-cpu of a program that only sleeps.
  const filled = sessions.flatMap(({ groups }) => groups.map(({ kind }) => kind)), allKinds = filled.length > 0 ? filled : sessions.flatMap((session) => [...session.kinds.keys()]);
  const standards = {
    show: shows[0] ?? "rate", one: everything(sessions.length - 1), two: sessions.length > 1 ? everything(0) : null,
    filters: { kind: allKinds.includes("on-cpu") ? "on-cpu" : allKinds[0] ?? "on-cpu", state: null, work: null, thread: null, process: null, verdict: null },
  };
  Object.assign(selected, { show: standards.show, one: { ...standards.one }, two: standards.two && { ...standards.two }, filters: { ...standards.filters } });

  // Head

  const body = document.body, title = body.querySelector(".report-title");
  body.querySelector("noscript")?.remove();
  const live = make("p", { class: "report-unseen", role: "status", "aria-live": "polite" });
  const themeButton = make("button", { type: "button", class: "report-button" });
  const nameTheme = () => { themeButton.textContent = theme.isDark ? "Light" : "Dark"; };
  nameTheme();
  const head = make("header", { class: "report-head" });
  title.before(head);
  head.append(title, themeButton);
  for (const session of sessions) {
    const facts = make("dl", { class: "report-facts" });
    if (session.letter) facts.append(make("div", {}, make("dt", {}, "session"), make("dd", {}, `${session.letter}: ${session.data.title}`)));
    for (const [name, value, definition] of session.data.facts) facts.append(make("div", { title: definition }, make("dt", {}, name), make("dd", {}, value)));
    body.append(facts);
    const missing = [...session.data.missing];
    if (session.data.ticks.intervalsPerTick > 1 && session.columns > 0) {
      missing.push(session.rows > 1 ? `A column of the heatmaps is ${session.data.ticks.intervalsPerTick} s.`
        : `A column of the heatmaps is up to ${session.data.ticks.intervalsPerTick} intervals: the session has more than can be drawn.`);
    }
    for (const { name, dropped } of session.data.kinds) {
      if (dropped > 0) missing.push(`${weightText(session, name, dropped, true)} (${name}) had no room in the history of stacks, and are in no selection.`);
    }
    for (const sentence of missing) body.append(make("p", { class: "report-missing" }, session.letter ? `${session.letter}: ${sentence}` : sentence));
  }
  if (data.comparison) {
    const { moved, remarks } = data.comparison;
    const card = tableOf({ ...moved, notes: remarks }, "", 8);
    card.classList.add("report-moved");
    body.append(card);
  }

  // Heatmaps

  const panels = panelsOf(sessions);
  const toolbar = make("div", { class: "report-bar" }), pane = make("div", { class: "report-pane" });
  const showButtons = make("div", { class: "report-switch", role: "group", "aria-label": "What the heatmaps show" });
  const meanings = new Map(data.glossary);
  for (const show of shows) {
    const definition = show === "rate" ? "Calls per second." : show === "errors" ? "Error replies per second." : meanings.get(show) ?? null;
    const button = make("button", { type: "button", class: "report-button", title: definition, "data-show": show }, show);
    button.addEventListener("click", () => {
      selected.show = show;
      page.remember(true);
      refresh();
    });
    showButtons.append(button);
  }
  const legend = make("div", { class: "report-legend", "aria-hidden": "true" });
  const legendLow = make("span"), legendHigh = make("span"), legendRamp = make("span", { class: "report-ramp" });
  const lines = make("span", { class: "report-lines" }, make("i", { class: "report-line" }), "p50", make("i", { class: "report-line dashed" }), "p99");
  legend.append(legendLow, legendRamp, legendHigh, lines);
  if (shows.length > 0) toolbar.append(showButtons);
  const filters = filterControls(sessions, (name, value) => {
    selected.filters[name] = value;
    if (name === "kind" && value !== "off-cpu") selected.filters.state = null;
    page.remember(true);
    refresh();
  });
  toolbar.append(filters.place, legend);

  let isComparing = false;
  const maps = [];
  const axes = make("div", { class: "report-axes" }, make("div", { class: "report-axis-name" }, "UTC"));
  for (const session of sessions) {
    const axis = make("div", { class: "report-times", "data-session": session.letter || null, title: "Drag to select a range of time for all commands" });
    axis.session = session;
    axes.append(axis);
  }
  pane.append(axes);
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const map = entry.target.map;
      map.isVisible = entry.isIntersecting;
      if (map.isVisible) drawMap(map);
    }
  }, { rootMargin: "200px" });
  pane.style.setProperty("--sessions", sessions.length);
  for (const panel of panels) {
    const section = make("section", { class: "report-panel" });
    const name = make("button", { type: "button", class: "report-name", title: `Select ${panel.title}, all time` }, panel.title);
    name.addEventListener("click", () => {
      const whole = (session) => ({ ...everything(session), command: panel.command, process: panel.process });
      selected.one = whole(selected.one.session);
      if (sessions.length > 1) [selected.two, selected.one] = [whole(0), whole(1)];
      changed();
    });
    const numbers = make("p", { class: "report-numbers" });
    numbers.append(...numbersOf(sessions, panel));
    const tableButton = make("button", { type: "button", class: "report-link", "aria-expanded": "false" }, "table");
    section.append(make("div", { class: "report-side" }, make("h3", {}, name), numbers, tableButton));
    const own = [];
    for (const session of sessions) {
      const surface = make("div", { class: "report-map", tabindex: 0, role: "application", "aria-roledescription": "heatmap",
        "aria-label": `${panel.title}${session.letter ? `, session ${session.letter}` : ""}. Arrow keys move, with Shift they extend, Enter selects, Control and Enter selects the baseline, Escape clears.` });
      const map = { session, panel, surface, canvas: make("canvas"), marks: make("canvas", { class: "report-marks" }), scale: make("div", { class: "report-scale", "aria-hidden": "true" }),
        one: make("div", { class: "report-rect", hidden: "" }), two: make("div", { class: "report-rect baseline", hidden: "" }),
        draft: make("div", { class: "report-rect draft", hidden: "" }), caret: make("div", { class: "report-rect caret", hidden: "" }), range: (show) => rangeOf(sessions, panel.command, show), grid: null, grids: new Map(), isVisible: false };
      surface.append(map.canvas, map.marks, map.scale, map.two, map.one, map.draft, map.caret);
      surface.map = map;
      maps.push(map);
      own.push(map);
      section.append(surface);
      observer.observe(surface);
    }
    const tables = make("div", { class: "report-panel-table", hidden: "" });
    tables.fill = async () => {
      if (tables.hidden) return;
      tables.replaceChildren(...await Promise.all(own.map(async (map) => tableOfMap({ ...map, grid: await gridOf(map, selected, selected.filters) }, selected))));
    };
    tableButton.addEventListener("click", () => {
      tables.hidden = !tables.hidden;
      tableButton.setAttribute("aria-expanded", String(!tables.hidden));
      tables.fill();
    });
    section.append(tables);
    pane.append(section);
  }

  const hint = make("p", { class: "report-hint" });
  const words = make("p", { class: "report-words" });
  const clearButton = make("button", { type: "button", class: "report-button", title: "Show all stacks (Escape)" }, "Clear");
  const compareButton = make("button", { type: "button", class: "report-button", "aria-pressed": "false", title: "The next selection is the baseline with which the present one is compared, as a selection with the control key held down" },
    "Compare with …");
  const swapButton = make("button", { type: "button", class: "report-button", title: "The baseline becomes the selection, and the other way round" }, "Swap");
  const flame = flamegraph(page);
  const selectionBar = make("div", { class: "report-selection" }, words, make("div", { class: "report-actions" }, compareButton, swapButton, clearButton));
  body.append(make("h2", { class: "report-unseen" }, "Heatmaps"));
  if (panels.length > 0) body.append(toolbar, pane, hint);
  else if (sessions.some((session) => session.kinds.size > 1)) body.append(toolbar);
  body.append(make("h2", { class: "report-unseen" }, "Flamegraph of the selection"), selectionBar, flame.place, live);

  // Tables

  const cards = make("div", { class: "report-cards" });
  for (const session of sessions) for (const table of session.data.tables) cards.append(tableOf(table, session.letter));
  body.append(make("h2", {}, "The session's numbers"), cards, glossaryOf(data.glossary), make("footer", { class: "report-foot" }, `kiln ${data.version}`));

  // What the maps do

  const tip = make("div", { class: "report-tip", role: "tooltip", hidden: "" });
  body.append(tip);
  const tell = (text) => { live.textContent = text; };
  const act = {
    view: () => selected,
    isComparing: () => isComparing,
    tell,
    choose(map, selection, asBaseline) {
      // Beside each other, the first session is the baseline.
      if (sessions.length > 1) asBaseline = map.session.index === 0;
      if (asBaseline) selected.two = selection; else selected.one = selection;
      setComparing(false);
      changed();
    },
    clear() {
      [selected.one, selected.two] = [{ ...standards.one }, standards.two && { ...standards.two }];
      setComparing(false);
      changed();
    },
    hover(map, texts, x, y) {
      tip.hidden = map === null || texts.length === 0;
      pane.classList.toggle("report-pointing", !tip.hidden);
      if (tip.hidden) return;
      tip.replaceChildren(...texts.map((text) => make("div", {}, text)));
      const bounds = map.surface.getBoundingClientRect();
      pane.style.setProperty("--at", `${(x - bounds.left) / bounds.width * 100}%`);
      tip.style.left = `${Math.min(x + 14, innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? y - 10 - tip.offsetHeight : y + 18}px`;
    },
  };
  for (const map of maps) listenTo(map, act);
  for (const axis of axes.querySelectorAll(".report-times")) listenToTimes(axis, act);
  function setComparing(is) {
    isComparing = is;
    compareButton.setAttribute("aria-pressed", String(is));
  }
  compareButton.addEventListener("click", () => setComparing(!isComparing));
  clearButton.addEventListener("click", () => act.clear());
  swapButton.addEventListener("click", () => {
    [selected.one, selected.two] = [selected.two, selected.one];
    changed();
  });
  themeButton.addEventListener("click", () => {
    theme.choose(theme.isDark ? "light" : "dark");
    nameTheme();
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    nameTheme();
    drawAll();
  });
  window.addEventListener("beforeprint", () => {
    theme.isPrinting = true;
    drawAll(true);
  });
  window.addEventListener("afterprint", () => {
    theme.isPrinting = false;
    drawAll();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest?.("input, select, textarea, .flamegraph")) {
      const input = flame.place.querySelector("input");
      if (!input) return;
      input.focus();
      event.preventDefault();
    }
  });

  // Drawing

  let most = 1, workMost = 1, places = [];
  async function loadGrid(map) {
    const turn = map.turn = (map.turn ?? 0) + 1;
    const grid = await gridOf(map, selected, selected.filters);
    if (turn !== map.turn) return false;
    map.grid = grid;
    return true;
  }
  async function drawMap(map) {
    if (!map.isStale) return;
    map.isStale = false;
    if (!await loadGrid(map)) return;
    paint(map);
  }
  function paint(map) {
    const { surface, grid, panel } = map;
    if (grid) surface.style.height = `${heightOf(grid)}px`;
    surface.classList.toggle("nothing", grid === null);
    drawCells(map, panel.kind === "work" ? workMost : most);
    map.scale.replaceChildren(...axisOf(grid, map.session).map(([at, text]) => {
      const line = make("span", {}, text);
      line.style.bottom = `${at * 100}%`;
      return line;
    }));
    drawMarks(map, places[map.session.index], selected);
    placeRectangles(map);
  }
  function placeRectangles(map) {
    placeRectangle(map.one, rectangleOf(map, selected, selected.one));
    placeRectangle(map.two, rectangleOf(map, selected, selected.two));
  }
  // Draws again what is seen, and for paper also what is not.
  function drawAll(isWhole = false) {
    legendRamp.style.background = `linear-gradient(to right, ${(theme.isDark ? ramps.dark : ramps.light).join(", ")})`;
    for (const map of maps) if (map.grid && (isWhole || map.isVisible)) paint(map); else map.isStale = true;
    drawTimes();
  }
  function drawTimes() {
    for (const axis of axes.querySelectorAll(".report-times")) {
      const { session } = axis, { times, step } = timesOf(session, axis.clientWidth || 800);
      axis.replaceChildren(...times.map((time) => {
        const mark = make("span", {}, clock(time, step < 1000));
        mark.style.left = `${placeOf(session, time) * 100}%`;
        return mark;
      }));
    }
  }
  function placeSelections() {
    for (const map of maps) {
      placeRectangles(map);
      const { command, process } = selected.one;
      map.surface.closest(".report-panel").classList.toggle("chosen",
        (command !== null || process !== null) && command === map.panel.command && process === map.panel.process);
    }
  }

  // Everything after a change of what is shown.
  async function refresh() {
    for (const button of showButtons.children) button.setAttribute("aria-pressed", String(button.dataset.show === selected.show));
    filters.update();
    most = 1;
    for (const session of sessions) {
      for (const command of session.commands) for (const phase of command.phases) if (phase.name === selected.show) most = Math.max(most, phase.largest);
    }
    workMost = 1;
    const isLatency = selected.show !== "rate" && selected.show !== "errors" && shows.length > 0;
    for (const map of maps) {
      map.isStale = true;
      if (map.panel.kind === "work") workMost = Math.max(workMost, weightByTick(map.session, { command: map.panel.command, process: map.panel.process, low: null, high: null }, selected.filters).reduce((a, b) => Math.max(a, b), 0));
      const range = map.panel.kind === "command" && isLatency ? map.range(selected.show) : null;
      // The height is known before the cells are read, so that nothing moves when they are.
      const shape = map.panel.kind === "work" ? { isWork: true, rows: map.session.rows } : !isLatency ? { series: [] } : range ? { rows: range.highest - range.lowest + 1 } : null;
      map.surface.style.height = `${heightOf(shape)}px`;
    }
    legend.hidden = !isLatency && shows.length > 0;
    lines.hidden = shows.length === 0;
    legendLow.textContent = isLatency ? "1" : "few";
    legendHigh.textContent = isLatency ? `${counted(most, "call")} a cell` : `${weightText(sessions[0], selected.filters.kind, workMost, true)} a cell`;
    hint.textContent = hintOf();
    drawTimes();
    legendRamp.style.background = `linear-gradient(to right, ${(theme.isDark ? ramps.dark : ramps.light).join(", ")})`;
    placeSelections();
    for (const tables of pane.querySelectorAll(".report-panel-table")) tables.fill();
    await Promise.all(maps.filter((map) => map.isVisible).map(drawMap));
    await showStacks();
    loadRest();
  }
  function hintOf() {
    const withStacks = sessions.some((session) => session.data.stacksHaveTime);
    if (!withStacks) return "";
    if (sessions.length > 1) return "Drag in A and in B to compare these parts; click a command to compare all of it.";
    if (selected.show === "service") return "Drag to select; with Ctrl, a second selection to compare with. Latencies snap to bands of half a power of two.";
    if (shows.length === 0) return "Drag to select; with Ctrl, a second selection to compare with.";
    return `Drag to select a range of time; with Ctrl, a second one to compare with. Stacks know the service latency of their call, so in the view of ${selected.show} the height selects nothing.`;
  }
  async function showStacks() {
    placeSelections();
    const result = await flame.draw();
    compareButton.disabled = !flame.stacks;
    compareButton.hidden = sessions.length > 1;
    clearButton.disabled = JSON.stringify([selected.one, selected.two]) === JSON.stringify([standards.one, standards.two]);
    swapButton.hidden = selected.two === null;
    if (!result) {
      words.textContent = phraseOf(sessions, selected.one);
      return;
    }
    const text = (selection, { weight, calls, seconds }) => {
      const session = sessions[selection.session], parts = [];
      if (session.commands.length > 0) parts.push(counted(calls, "call"));
      if (session.columns > 0) parts.push(duration(seconds * 1e9));
      parts.push(`${weightText(session, selected.filters.kind, weight)} (${filterText(selected.filters)})`);
      return `${phraseOf(sessions, selection)}: ${parts.join(", ")}`;
    };
    words.replaceChildren(make("strong", {}, text(selected.one, result.sums)));
    if (result.others) {
      words.append(make("br"), make("span", { class: "report-baseline" }, `compared with ${text(selected.two, result.others)}`),
        result.perCall ? ", scaled to as many calls" : ", scaled to as long a time");
    }
    tell(words.textContent);
  }
  // What is printed, or scrolled to, need not be waited for.
  async function loadRest() {
    for (const map of maps) if (map.isStale) await loadGrid(map);
  }
  async function changed() {
    performance.mark("kiln-selection");
    page.remember(true);
    await showStacks();
    await painted();
    performance.measure("kiln-flamegraph", "kiln-selection");
  }
  page.onSearch = (matches) => {
    if (!matches && places.length === 0) return;
    places = matches ? sessions.map((session) => placesOf(session, flame.stacks, matches, selected.filters)) : [];
    for (const map of maps) if (map.grid) drawMarks(map, places[map.session.index], selected);
  };

  // Address

  page.remember = (asNewEntry) => {
    const wanted = addressOf(sessions, standards, page.flameAddress);
    if (wanted === location.hash || wanted === "#" && location.hash === "") return;
    try {
      if (asNewEntry) location.hash = wanted; else location.replace(wanted);
    } catch (error) {
      // A page inside a sandbox may have no address of its own; it works without one.
    }
  };
  // Before the words of the selection.
  const notice = make("p", { class: "report-missing", role: "alert", hidden: "" });
  words.before(notice);
  const restore = () => {
    const { flame, missing } = readAddress(location.hash, sessions, standards);
    page.flameAddress = flame;
    if (!shows.includes(selected.show) && shows.length > 0) selected.show = standards.show;
    notice.textContent = missing.join(" ");
    notice.hidden = missing.length === 0;
  };
  window.addEventListener("hashchange", () => {
    const before = JSON.stringify(selected);
    if (addressOf(sessions, standards, page.flameAddress) === location.hash) return;
    restore();
    if (JSON.stringify(selected) !== before) refresh();
  });
  restore();

  new ResizeObserver(() => drawAll()).observe(pane);

  // For tests, and for people with a console. `sumOf` takes a selection and filters as filter.js describes them, those that are left out being
  // null, and returns { weight, calls, seconds }; `cellsOf` returns a command's cells of a phase, [tick, slot, count] each, without empty ones.
  window.kilnReport = {
    isReady: false,
    selected,
    sessions,
    sumOf: ({ session = 0, kind = standards.filters.kind, state = null, work = null, thread = null, verdict = null, inProcess = null, ...selection }) =>
      sumsOf(sessions, { ...everything(session), ...selection }, { kind, state, work, thread, process: inProcess, verdict }),
    async cellsOf(command, phase, session = 0) {
      const cells = await cellsOf(sessions[session], command, phase), filled = [];
      cells?.counts.forEach((count, at) => {
        if (count > 0) filled.push([at % sessions[session].ticks, cells.lowest + Math.floor(at / sessions[session].ticks), count]);
      });
      return filled;
    },
  };
  // The observer tells which maps are seen.
  await painted();
  await refresh();
  pane.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  await painted();
  performance.mark("kiln-heatmaps");
  const stacks = await readStacks();
  for (const session of sessions) session.samples = await readSamples(session);
  flame.begin(stacks);
  await refresh();
  performance.mark("kiln-stacks");
  window.kilnReport.isReady = true;
}

// The numbers beside a panel's maps.
function numbersOf(sessions, panel) {
  if (panel.kind !== "command") return [];
  return sessions.flatMap((session) => {
    const table = session.data.tables.find((table) => table.title === "Commands"), row = table?.rows.find((row) => row[0] === panel.command);
    if (!row) return [];
    const number = (name, words) => {
      const at = table.columns.findIndex((column) => column.name === name), value = at < 0 ? null : row[at];
      return value === null || value === 0 ? [] : [make("span", { title: table.columns[at].definition }, words(cellText(value, table.columns[at].kind)))];
    };
    const main = table.columns.some((column) => column.name === "service p50") ? "service" : "total";
    const lines = [[...number("calls", (text) => `${text} ${text === "1" ? "call" : "calls"}`), ...number("errors", (text) => `${text} ${text === "1" ? "error" : "errors"}`)],
      [...number(`${main} p50`, (text) => `${main} p50 ${text}`), ...number(`${main} p99`, (text) => `p99 ${text}`)]];
    return lines.filter((line) => line.length > 0).map((line, at) =>
      make("span", { class: "report-row" }, session.letter && at === 0 ? `${session.letter} ` : "", ...line.flatMap((span, at) => (at > 0 ? [", ", span] : [span]))));
  });
}

// A range of time for all commands, dragged on the axis.
function listenToTimes(axis, act) {
  const { session } = axis;
  let anchor = null;
  const columnOf = (event) => {
    const bounds = axis.getBoundingClientRect();
    return columnAt(session, Math.min(Math.max((event.clientX - bounds.left) / bounds.width, 0), 1));
  };
  axis.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || session.columns === 0) return;
    anchor = { column: columnOf(event), asBaseline: event.ctrlKey || event.metaKey || act.isComparing() };
    axis.setPointerCapture(event.pointerId);
  });
  axis.addEventListener("pointerup", (event) => {
    if (!anchor) return;
    const [left, right] = [anchor.column, columnOf(event)].sort((a, b) => a - b);
    act.choose({ session }, { ...everything(session.index), from: columnStart(session, left), to: columnEnd(session, right) }, anchor.asBaseline);
    anchor = null;
  });
}

begin().catch((error) => {
  document.body.append(make("p", { class: "report-missing", role: "alert" }, `This page can't be shown: ${error.message}. It needs Chromium 97, Firefox 113 or Safari 16.4, or a later one.`));
  throw error;
});
