// Reads the page's blocks: each is a script element that the browser doesn't run, with zlib data in base64. PageData.swift (JSON) and Blocks.swift
// (numbers) say what they hold.

async function readBlock(id) {
  const element = document.getElementById(id);
  if (!element) return null;
  const text = atob(element.textContent.trim()), packed = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) packed[at] = text.charCodeAt(at);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const readJSON = async (id) => {
  const block = await readBlock(id);
  return block && JSON.parse(new TextDecoder().decode(block));
};

// Numbers one after the other: seven bits in each byte, the lowest first; the highest bit says that more follow.
class Numbers {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  next() {
    const first = this.bytes[this.at++];
    if (first < 128) return first;
    let value = first - 128, scale = 128, byte;
    do {
      byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    return value;
  }
  // As many bytes as the next number says.
  part() {
    const length = this.next();
    this.at += length;
    return new Numbers(this.bytes.subarray(this.at - length, this.at));
  }
}

// A session as the page uses it.
function sessionOf(data, index, letter) {
  const { start, times, rows } = data.ticks;
  const ticks = times.length / 2;
  const session = { index, letter, data, rows, ticks, columns: ticks / rows, commands: data.commands, tickStart: new Float64Array(ticks), tickEnd: new Float64Array(ticks) };
  for (let tick = 0; tick < ticks; tick++) {
    session.tickStart[tick] = start + times[2 * tick];
    session.tickEnd[tick] = session.tickStart[tick] + Math.max(times[2 * tick + 1], 1);
  }
  session.start = ticks > 0 ? session.tickStart[0] : start;
  session.end = ticks > 0 ? session.tickEnd[ticks - 1] : start + 1;
  const word = (number) => (number > 0 ? data.words[number] : null);
  session.groups = [];
  for (let at = 0; at < data.groups.length; at += 8) {
    const [kind, process, thread, command, work, verdict, state, band] = data.groups.slice(at, at + 8);
    session.groups.push({ kind: data.kinds[kind].name, process: word(process) ?? "", thread: word(thread), command: word(command), work: word(work), verdict: word(verdict), state: word(state),
      band: band - 1 });
  }
  session.commandNumber = new Map(data.commands.map((command, number) => [command.name, number]));
  session.kinds = new Map(data.kinds.map((kind) => [kind.name, kind]));
  session.cells = new Map();
  return session;
}

// The latencies of a command in a phase: `counts` has the count of each slot from `lowest` in each tick, slot by slot. Null where the phase
// has none. Read when it is first asked for.
function cellsOf(session, command, phase) {
  const number = session.commandNumber.get(command);
  const place = session.commands[number]?.phases.findIndex((one) => one.name === phase) ?? -1;
  if (place < 0) return Promise.resolve(null);
  const key = `cells-${session.index}-${number}-${place}`;
  if (!session.cells.has(key)) session.cells.set(key, readCells(session, session.commands[number].phases[place], key));
  return session.cells.get(key);
}
async function readCells(session, { lowest, highest, largest }, key) {
  const numbers = new Numbers(await readBlock(key)), counts = new Float64Array((highest - lowest + 1) * session.ticks);
  for (let at = 0; at < counts.length; at++) counts[at] = numbers.next();
  return { lowest, highest, largest, counts };
}

// All stacks of the page, for boxesOf: `frames` are indices of names.
async function readStacks() {
  const block = await readBlock("stacks");
  if (!block) return null;
  const names = await readJSON("names"), numbers = new Numbers(block);
  const count = numbers.next(), callers = new Int32Array(count), frames = new Int32Array(count);
  for (let stack = 0; stack < count; stack++) {
    const back = numbers.next();
    callers[stack] = back === 0 ? -1 : stack - back;
  }
  for (let stack = 0; stack < count; stack++) frames[stack] = numbers.next();
  return { names, callers, frames, ordered: orderedStacks(callers, frames, names) };
}

// The counts of stacks of a session, by group: those of group g are the elements from `first[g]` up to `first[g + 1]` of `stack`, `tick` and
// `weight`.
async function readSamples(session) {
  const block = await readBlock(`samples-${session.index}`);
  const groups = session.groups.length, first = new Int32Array(groups + 1);
  if (!block) return { first, stack: new Int32Array(0), tick: new Int32Array(0), weight: new Float64Array(0) };
  const whole = new Numbers(block), places = whole.part(), ticks = whole.part(), weights = whole.part();
  // Each weight is a number: bytes without the highest bit end one.
  let count = 0;
  for (const byte of weights.bytes) if (byte < 128) count++;
  const stack = new Int32Array(count), tick = new Int32Array(count), weight = new Float64Array(count);
  let at = 0;
  for (let group = 0; group < groups; group++) {
    first[group] = at;
    let number = 0;
    for (let run = places.next(); run > 0; run--) {
      number += places.next();
      let last = 0;
      for (let left = places.next(); left > 0; left--) {
        last += ticks.next();
        stack[at] = number;
        tick[at] = last;
        weight[at++] = weights.next();
      }
    }
  }
  first[groups] = at;
  return { first, stack, tick, weight };
}
