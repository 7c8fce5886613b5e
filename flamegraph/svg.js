// The end of a picture's script: shows the flamegraph of the picture in which the script stands. The page's address holds what it shows.

const root = document.currentScript.closest("svg");
// Each picture of a page has a key of its own, and follows no other.
const serial = document.querySelectorAll(".flamegraph .outline.keyboard").length;
const addressKey = serial === 0 ? "frame" : `frame${serial + 1}`;
// The fields of each picture of the page, by its key: they begin with the key, those before any key are the first picture's.
function addressParts() {
  const parts = new Map();
  let key = "frame";
  for (const field of location.hash.slice(1).split("&")) {
    const at = field.indexOf("=");
    if (at <= 0) continue;
    if (/^frame[0-9]*$/.test(field.slice(0, at))) key = field.slice(0, at);
    parts.set(key, [...(parts.get(key) ?? []), field]);
  }
  return parts;
}
showFlamegraph(root, JSON.parse(root.querySelector(".profile").textContent), {
  readAddress() {
    const part = addressParts().get(addressKey)?.join("&") ?? "";
    return part.startsWith(`${addressKey}=`) ? "frame" + part.slice(addressKey.length) : part;
  },
  writeAddress(text, { replace }) {
    const parts = addressParts();
    parts.set(addressKey, [addressKey + text.slice("frame".length)]);
    // What every picture shows at first needs no words where another has some.
    if (text === "frame=" && parts.size > 1) parts.delete(addressKey);
    const wanted = "#" + [...parts.values()].flat().join("&");
    try {
      if (replace) location.replace(wanted); else location.hash = wanted;
    } catch (error) {
      // A picture inside a sandbox may have no address of its own; it works without one.
    }
  },
});
