// The page of a session: heatmaps, and the flamegraph of what is selected in them. Text of a session reaches the page through text nodes
// and attributes' values only. The script never changes with a session: its hash is in the page's policy.
//
// Files in one block behind the flamegraph's: text.js writes numbers, data.js reads the page's blocks, filter.js adds up stacks, scale.js
// has the colours, heatmap.js draws, pointer.js is mouse and keyboard in a heatmap, selection.js keeps what is selected, flame.js draws its
// stacks, tables.js the session's tables, address.js the link, page.js puts all of it together.

// An element with attributes, and with text or other elements in it. Attributes that are null are left out.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const key in attributes) if (attributes[key] !== null && attributes[key] !== undefined) made.setAttribute(key, attributes[key]);
  made.append(...children.filter((child) => child !== null));
  return made;
}

const grouped = (number) => Math.round(number).toLocaleString("en-US");
const counted = (number, one, several = one + "s") => `${grouped(number)} ${number === 1 ? one : several}`;

// Three digits in a suitable unit, as kiln prints them: `850 ns`, `12.3 us`, `1.05 s`.
function duration(ns) {
  const units = [[1, "ns"], [1e3, "us"], [1e6, "ms"], [1e9, "s"]];
  let unit = units.findLast(([size]) => ns >= size) ?? units[0];
  const next = units[units.indexOf(unit) + 1];
  if (next && ns >= next[0] * 0.9995) unit = next;
  const value = ns / unit[0];
  const digits = unit[0] === 1 || value >= 99.95 ? grouped(value) : value.toFixed(value >= 9.995 ? 1 : 2);
  return `${digits} ${unit[1]}`;
}
function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit++;
  }
  return `${unit === 0 || number >= 99.95 ? grouped(number) : number.toFixed(1)} ${units[unit]}`;
}
function percent(share) {
  const value = share * 100;
  return `${Math.abs(value) >= 9.95 ? Math.round(value) : value.toFixed(Math.abs(value) >= 0.95 ? 1 : 2)} %`;
}
const perSecond = (rate) => (rate >= 9.95 || rate === 0 ? grouped(rate) : rate.toFixed(rate >= 0.995 ? 1 : 2)) + "/s";

// Whether a time has its day: of sessions that reach beyond midnight.
let showsDays = false;
// The time of day, UTC, with as many digits behind the second as the moment has; `11-30 12:04:31` where days are shown.
function clock(milliseconds, withMilliseconds = milliseconds % 1000 !== 0) {
  const text = moment(milliseconds);
  return (showsDays && text ? text.slice(5, 10) + " " : "") + text.slice(11, withMilliseconds ? 23 : 19);
}
// RFC 3339 with milliseconds; an empty text for a time that no calendar has.
function moment(milliseconds) {
  const date = new Date(Math.round(milliseconds));
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}

// The least latency of a histogram's slot, in nanoseconds: 16 equal slots in every power of two (kiln_histogram.h).
function slotLower(slot) {
  return slot < 16 ? slot : 2 ** ((slot >> 4) + 3) * (1 + (slot & 15) / 16);
}
function slotOf(ns) {
  if (ns < 16) return Math.max(0, Math.floor(ns));
  if (ns >= 2 ** 36) return overflowSlot;
  // The logarithm of a number just below a power of two is rounded up.
  let exponent = Math.floor(Math.log2(ns));
  if (2 ** exponent > ns) exponent--;
  return 16 * (exponent - 3) + Math.floor((ns / 2 ** exponent - 1) * 16);
}
const overflowSlot = 528, slotsPerBand = 8;
const bandOf = (slot) => Math.floor(slot / slotsPerBand);
// The edges of a band, [lower, upper) in nanoseconds; there is no upper one for what is longer than all slots.
const bandLower = (band) => slotLower(band * slotsPerBand);
const bandUpper = (band) => (band * slotsPerBand >= overflowSlot ? Infinity : slotLower((band + 1) * slotsPerBand));
const latencyRange = (lower, upper) => (upper === Infinity ? `${duration(lower)} and more` : `${duration(lower)} to ${duration(upper)}`);
