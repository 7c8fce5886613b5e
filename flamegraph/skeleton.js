// The <svg> in which showFlamegraph draws in a page, empty. A picture brings its own, drawn (SVGWriter.swift).

// `profile` is what ProfileNames writes. The caller puts the element into the page before showFlamegraph gets it.
function flamegraphSkeleton(document, profile) {
  const make = (tag, attributes, into) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    into?.append(made);
    return made;
  };
  const root = make("svg", { class: "flamegraph inPage", width: "100%", "font-size": 13, role: "group", "aria-label": "Flamegraph" });
  const head = make("g", { class: "head" }, root);
  make("text", { class: "ink headline", x: 20, y: 38, "font-size": 21, "font-weight": 600 }, head);
  if (profile.subtitle) make("text", { class: "quiet subtitle", x: 20, y: 62 }, head);
  make("g", { class: "legend" }, root);
  const graph = make("g", { class: "graph" }, root);
  make("g", { class: "boxes" }, graph);
  make("g", { class: "labels", "font-size": profile.fontSize, "font-family": profile.fontFamily }, graph);
  make("g", { class: "foot", "font-size": 12 }, root);
  return root;
}
