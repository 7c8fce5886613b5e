// The link to what is selected: names and times, not places in a list, so that it holds when the page is made anew. The flamegraph's own part
// is the last, from `frame=` on.

const escaped = (text) => encodeURIComponent(text.toWellFormed?.() ?? text).replace(/%2C/g, ",").replace(/%3A/g, ":");
function decoded(text) {
  try { return decodeURIComponent(text); } catch (error) { return text; }
}
function selectionFields(selection, sessions, prefix) {
  const fields = [], put = (name, value) => { if (value !== null) fields.push(`${prefix}${name}=${escaped(String(value))}`); };
  if (sessions.length > 1) put("session", sessions[selection.session].letter);
  put("command", selection.command);
  put("from-process", selection.process);
  put("from", selection.from === null ? null : moment(selection.from));
  put("to", selection.to === null ? null : moment(selection.to));
  put("low", selection.low);
  put("high", selection.high === Infinity ? null : selection.high);
  put("below", selection.below);
  put("above", selection.above);
  return fields;
}
function selectionIn(fields, sessions, prefix, standard) {
  const text = (name) => fields.get(prefix + name) ?? null;
  const number = (name) => (text(name) === null || !Number.isFinite(Number(text(name))) ? null : Number(text(name)));
  const time = (name) => (Number.isNaN(Date.parse(text(name) ?? "")) ? null : Date.parse(text(name)));
  const session = sessions.findIndex((session) => session.letter === text("session"));
  const selection = { session: session < 0 ? standard : session, command: text("command"), process: text("from-process"), from: time("from"), to: time("to"), low: number("low"),
    high: number("high"), below: number("below"), above: number("above") };
  // Stacks are told apart by bands: a link by hand gets those that it touches.
  if (selection.low !== null || selection.high !== null) {
    const low = Math.max(selection.low ?? 0, 0), high = Math.max(selection.high ?? Infinity, low + 1);
    selection.low = bandLower(bandOf(slotOf(low)));
    selection.high = high === Infinity ? high : bandUpper(bandOf(slotOf(high - 1)));
  }
  if (selection.below === null || selection.above === null) selection.below = selection.above = null;
  return selection;
}

// The address of the page's state. `standards` is the state without an address.
function addressOf(sessions, standards, flameAddress) {
  const fields = [];
  if (selected.show !== standards.show) fields.push(`show=${escaped(selected.show)}`);
  if (JSON.stringify(selected.one) !== JSON.stringify(standards.one)) fields.push(...selectionFields(selected.one, sessions, ""));
  if (JSON.stringify(selected.two) !== JSON.stringify(standards.two)) {
    fields.push(`compare=${selected.two === null ? 0 : 1}`);
    if (selected.two) fields.push(...selectionFields(selected.two, sessions, "with-"));
  }
  for (const name in selected.filters) {
    if (selected.filters[name] !== standards.filters[name]) fields.push(`${name}=${escaped(selected.filters[name] ?? "")}`);
  }
  if (flameAddress !== "" && flameAddress !== "frame=") fields.push(flameAddress);
  return "#" + fields.join("&");
}
// Sets the state to that of an address, and returns the flamegraph's part and what the session does not have.
function readAddress(text, sessions, standards) {
  const at = text.search(/(^#?|&)frame=/), own = at < 0 ? text : text.slice(0, at);
  const flame = at < 0 ? "" : text.slice(at).replace(/^[#&]/, "");
  const fields = new Map(own.replace(/^#/, "").split("&").map((field) => [field.slice(0, field.indexOf("=")), decoded(field.slice(field.indexOf("=") + 1))]));
  const missing = [];
  const known = (selection) => {
    const { commands, groups } = sessions[selection.session];
    if (selection.command !== null && !commands.some(({ name }) => name === selection.command) && !groups.some(({ command }) => command === selection.command)) {
      missing.push(`The link names a command that this session does not have: ${selection.command}.`);
      selection.command = null;
    }
    if (selection.process !== null && !groups.some(({ process }) => process === selection.process)) {
      missing.push(`The link names a process that this session does not have: ${selection.process}.`);
      selection.process = null;
    }
    return selection;
  };
  const names = ["session", "command", "from-process", "from", "to", "low", "high", "below", "above"];
  selected.show = fields.get("show") ?? standards.show;
  selected.one = names.some((name) => fields.has(name)) ? known(selectionIn(fields, sessions, "", standards.one.session)) : { ...standards.one };
  selected.two = !fields.has("compare") ? standards.two && { ...standards.two }
    : fields.get("compare") === "0" ? null : known(selectionIn(fields, sessions, "with-", 0));
  for (const name in selected.filters) {
    selected.filters[name] = !fields.has(name) ? standards.filters[name] : fields.get(name) === "" ? null : fields.get(name);
  }
  const kinds = sessions.flatMap((session) => [...session.kinds.keys()]);
  for (const name in selected.filters) {
    const value = selected.filters[name];
    if (value === standards.filters[name] || (name === "kind" ? kinds.includes(value) : sessions.some(({ groups }) => groups.some((group) => group[name] === value)))) continue;
    missing.push(`The link names stacks that this session does not have: ${name} ${value ?? "of any kind"}.`);
    selected.filters[name] = standards.filters[name];
  }
  return { flame, missing };
}
