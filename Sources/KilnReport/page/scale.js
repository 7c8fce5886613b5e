// Colours of heatmaps. By day darker means more, by night lighter. Lightness alone tells the order, so that it is the same to all
// eyes and on paper (after matplotlib's "inferno").
const ramps = {
  light: ["#f6d264", "#fbb02f", "#f78212", "#e45a31", "#c43c4e", "#9b2964", "#6b176e", "#3a0b58", "#140733"],
  dark: ["#4b2167", "#731d6d", "#9b2964", "#c43c4e", "#e45a31", "#f78212", "#fbad1e", "#f6d264", "#fcffa4"],
};
const rampSteps = 256;

// For each step a colour as a pixel of ImageData has it, read as one number.
function pixelsOf(ramp) {
  const channels = ramp.map((color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
  const pixels = new Uint32Array(rampSteps), parts = new Uint8ClampedArray(pixels.buffer);
  for (let step = 0; step < rampSteps; step++) {
    const place = step / (rampSteps - 1) * (ramp.length - 1), from = Math.min(Math.floor(place), ramp.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      parts[4 * step + channel] = channels[from][channel] + (channels[from + 1][channel] - channels[from][channel]) * (place - from);
    }
    parts[4 * step + 3] = 255;
  }
  return pixels;
}
const pixels = { light: pixelsOf(ramps.light), dark: pixelsOf(ramps.dark) };

// The step of a value on a logarithmic scale from `least` to `most`.
function stepOf(value, least, most) {
  if (!(most > least)) return value > 0 ? rampSteps >> 1 : 0;
  return Math.max(0, Math.min(rampSteps - 1, Math.round(Math.log(value / least) / Math.log(most / least) * (rampSteps - 1))));
}

// Day, night, or what the reader's system prefers. Style sheets say it in media queries; a choice here changes their condition.
const theme = {
  chosen: null,
  rules: [],
  get isDark() { return !theme.isPrinting && (theme.chosen ? theme.chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches); },
  isPrinting: false,
  choose(scheme) {
    theme.chosen = scheme;
    if (theme.rules.length === 0) {
      for (const sheet of document.styleSheets) {
        for (const rule of sheet.cssRules) {
          if (rule instanceof CSSMediaRule && rule.media.mediaText.includes("prefers-color-scheme: dark")) theme.rules.push({ rule, text: rule.media.mediaText });
        }
      }
    }
    for (const { rule, text } of theme.rules) rule.media.mediaText = scheme === null ? text : scheme === "dark" ? "screen" : "not all";
    document.documentElement.style.colorScheme = scheme ?? "light dark";
  },
};
