// What is selected, and what is said of it.

const everything = (session) => ({ session, command: null, process: null, from: null, to: null, low: null, high: null, below: null, above: null });
// `one` is shown; `two` is the baseline with which it is compared, or null. `show` is what the heatmaps show: a phase, or `rate`, or `errors`.
const selected = { one: everything(0), two: null, show: "service", filters: { kind: "on-cpu", state: null, work: null, thread: null, process: null, verdict: null } };

// `SORT, 12:04:29 to 12:04:33, service 1.02 ms to 2.90 ms`
function phraseOf(sessions, selection) {
  const session = sessions[selection.session], words = [];
  if (sessions.length > 1) words.push(`session ${session.letter}`);
  words.push(selection.command ?? selection.process ?? allOf(session));
  if (selection.from !== null || selection.to !== null) words.push(`${clock(selection.from ?? session.start)} to ${clock(selection.to ?? session.end)}`);
  else words.push("the whole session");
  if (selection.low !== null || selection.high !== null) words.push(`service ${latencyRange(selection.low ?? 0, selection.high ?? Infinity)}`);
  if (selection.below !== null) words.push(`${percent(selection.below)} to ${percent(selection.above)} of each ${session.data.ticks.intervalsPerTick === 1 ? "second" : `${session.data.ticks.intervalsPerTick} s`}`);
  return words.join(", ");
}
const allOf = (session) => (session.groups.some((group) => group.command !== null) || session.commands.length > 0 ? "all work" : "all processes");
// What a weight of stacks of a kind is: `41 samples, about 414 ms of CPU`.
function weightText(session, kind, weight, isShort = false) {
  const { unit, frequency } = session.kinds.get(kind) ?? { unit: "samples" };
  if (unit === "nanoseconds") return duration(weight);
  if (unit !== "samples") return `${grouped(weight)} ${kind}`;
  return counted(weight, "sample") + (frequency > 0 && weight > 0 && !isShort ? `, about ${duration(weight / frequency * 1e9)} of CPU` : "");
}
function filterText({ kind, state, work, thread, process, verdict }) {
  return [kind, state, work && `while ${work}`, thread && `thread ${thread}`, process && `process ${process}`, verdict && `${verdict} calls`].filter((word) => word).join(", ");
}

// The numbers of a selection: { weight, calls, seconds }.
async function sumsOf(sessions, selection, filters, weights = null) {
  const session = sessions[selection.session];
  const calls = await callsIn(session, selection);
  return { weight: weigh(session, selection, filters, weights), calls, seconds: secondsIn(session, selection) };
}

// Controls: a choice for each filter that has something to choose from.
const filterNames = [
  ["kind", "Stacks", "What is counted: samples on the CPU, time off it, or an event."],
  ["state", "State", "Of time off the CPU: asleep, ready without a CPU, and so on."],
  ["work", "Work", "What the thread did for the command: exec, read or reply."],
  ["verdict", "Calls", "Slow calls or fast ones, where stacks of some calls only were kept."],
  ["process", "Process", "The process whose stacks are shown."],
  ["thread", "Thread", "The thread whose stacks are shown."],
];
function filterControls(sessions, change) {
  const place = make("div", { class: "report-filters", role: "group", "aria-label": "Which stacks" });
  const selects = {};
  for (const [name, label, title] of filterNames) {
    const values = new Set();
    if (name === "kind") for (const session of sessions) for (const kind of session.kinds.keys()) values.add(kind);
    else for (const session of sessions) for (const group of session.groups) if (group[name] !== null) values.add(group[name]);
    if (values.size < (name === "state" || name === "work" ? 1 : 2)) continue;
    const select = make("select", { class: "report-select", title, "aria-label": title });
    if (name !== "kind") select.append(make("option", { value: "" }, `all ${label.toLowerCase()}${label === "State" ? "s" : label === "Process" ? "es" : label === "Calls" || label === "Work" ? "" : "s"}`));
    for (const value of name === "kind" ? values : [...values].sort()) select.append(make("option", { value: `=${value}` }, value));
    select.addEventListener("change", () => change(name, select.value === "" ? null : select.value.slice(1)));
    place.append(make("label", { class: "report-filter" }, make("span", {}, label), select));
    selects[name] = select;
  }
  const update = () => {
    for (const name in selects) selects[name].value = selected.filters[name] === null ? "" : `=${selected.filters[name]}`;
    if (selects.state) selects.state.disabled = selected.filters.kind !== "off-cpu";
  };
  return { place, update };
}
