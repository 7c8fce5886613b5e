// What a selection has: its ticks, its groups of stacks, its calls.
//
// A selection is { session, command, process, from, to, low, high, below, above }: a session's index; a command or other work by its name, or
// null for all; a process by its name, or null for all; moments in milliseconds since 1970, or null for all time; edges of latency in
// nanoseconds, or null for all; and where a column has several ticks the parts of it, 0 to 1, or null. The filters { kind, state, work, thread,
// process, verdict }, all by name, are the same for all selections; null means all; `kind` is never null.

// For each tick 1 if its middle lies in the selection.
function ticksIn(session, selection) {
  const chosen = new Uint8Array(session.ticks), { rows } = session;
  for (let tick = 0; tick < session.ticks; tick++) {
    const middle = (session.tickStart[tick] + session.tickEnd[tick]) / 2;
    const part = (tick % rows + 0.5) / rows;
    // With several ticks in a column, the moments choose columns.
    const column = rows > 1 ? tick - tick % rows : tick;
    const at = rows > 1 ? (session.tickStart[column] + session.tickEnd[column + rows - 1]) / 2 : middle;
    if (selection.from !== null && at < selection.from || selection.to !== null && at > selection.to) continue;
    if (selection.below != null && (part < selection.below || part > selection.above)) continue;
    chosen[tick] = 1;
  }
  return chosen;
}
const bandIn = (band, selection) => {
  if (selection.low === null && selection.high === null) return true;
  return band >= 0 && bandLower(band) >= (selection.low ?? 0) && bandLower(band) < (selection.high ?? Infinity);
};
function groupIn(group, selection, filters, haveTime) {
  return group.kind === filters.kind && (selection.command === null || group.command === selection.command)
    && (selection.process == null || group.process === selection.process)
    && (filters.process === null || group.process === filters.process) && (filters.thread === null || group.thread === filters.thread)
    && (filters.work === null || group.work === filters.work) && (filters.state === null || group.state === filters.state)
    && (filters.verdict === null || group.verdict === filters.verdict) && (!haveTime || bandIn(group.band, selection));
}

// Adds what the selection has of each stack to `weights`, if there are any, and returns the sum.
function weigh(session, selection, filters, weights = null) {
  if (!session.samples) return 0;
  const { first, stack, tick, weight } = session.samples, haveTime = session.data.stacksHaveTime;
  const chosen = ticksIn(session, selection);
  let sum = 0;
  session.groups.forEach((group, number) => {
    if (!groupIn(group, selection, filters, haveTime)) return;
    for (let at = first[number]; at < first[number + 1]; at++) {
      if (haveTime && chosen[tick[at]] === 0) continue;
      sum += weight[at];
      if (weights) weights[stack[at]] += weight[at];
    }
  });
  return sum;
}

// What each tick has of a command's, or a process's, stacks.
function weightByTick(session, selection, filters) {
  const sums = new Float64Array(session.ticks);
  if (!session.samples || !session.data.stacksHaveTime) return sums;
  const { first, tick, weight } = session.samples;
  session.groups.forEach((group, number) => {
    if (!groupIn(group, selection, filters, true)) return;
    for (let at = first[number]; at < first[number + 1]; at++) sums[tick[at]] += weight[at];
  });
  return sums;
}

// How many calls the selection has: requests that were read, or where latencies are chosen those that were answered with one of them.
async function callsIn(session, selection) {
  const chosen = ticksIn(session, selection);
  const names = selection.command === null ? session.commands.map((command) => command.name) : [selection.command];
  let calls = 0;
  for (const name of names) {
    const command = session.commands[session.commandNumber.get(name)];
    if (!command) continue;
    if (selection.low === null && selection.high === null) {
      command.calls.forEach((count, tick) => { if (chosen[tick] === 1) calls += count; });
      continue;
    }
    const cells = await cellsOf(session, name, "service");
    if (!cells) continue;
    for (let slot = cells.lowest; slot <= cells.highest; slot++) {
      if (!bandIn(bandOf(slot), selection)) continue;
      const row = (slot - cells.lowest) * session.ticks;
      for (let tick = 0; tick < session.ticks; tick++) if (chosen[tick] === 1) calls += cells.counts[row + tick];
    }
  }
  return calls;
}
// The time of the selection, with times in which nothing happened: these have no ticks.
function secondsIn(session, selection) {
  if (selection.from === null && selection.to === null && selection.below == null) return session.data.seconds;
  if (selection.below != null) {
    const chosen = ticksIn(session, selection);
    let seconds = 0;
    for (let tick = 0; tick < session.ticks; tick++) if (chosen[tick] === 1) seconds += (session.tickEnd[tick] - session.tickStart[tick]) / 1000;
    return seconds;
  }
  const from = Math.max(selection.from ?? session.start, session.start), to = Math.min(selection.to ?? session.end, session.end);
  return Math.max(0, to - from) / 1000;
}

// In which ticks and bands of each command, or other work, stacks with a frame that matches occur: by command a set of
// `(band + 1) * ticks + tick`. `matches` says it of an index of names.
function placesOf(session, stacks, matches, filters) {
  const { callers, frames } = stacks, found = new Uint8Array(callers.length), places = new Map();
  if (!session.samples || !session.data.stacksHaveTime) return places;
  for (let stack = 0; stack < found.length; stack++) found[stack] = matches(frames[stack]) || callers[stack] >= 0 && found[callers[stack]] === 1 ? 1 : 0;
  const { first, stack, tick } = session.samples, everything = { command: null, low: null, high: null };
  session.groups.forEach((group, number) => {
    if (!groupIn(group, everything, filters, true)) return;
    const key = group.command ?? `process ${group.process}`;
    if (!places.has(key)) places.set(key, new Set());
    const set = places.get(key), base = (group.band + 1) * session.ticks;
    for (let at = first[number]; at < first[number + 1]; at++) if (found[stack[at]] === 1) set.add(base + tick[at]);
  });
  return places;
}
