// The flamegraph of what is selected.

function flamegraph(page) {
  const place = make("div", { class: "report-flame" }), empty = make("p", { class: "report-empty" });
  const { sessions } = page;
  let svg = null, shown = null, stacks = null, drawing = 0;
  place.append(empty);
  empty.textContent = sessions.some((session) => session.data.hasStacks) ? "Reading stacks …" : "This session has no stacks.";

  return {
    place,
    get stacks() { return stacks; },
    begin(read) {
      stacks = read;
      if (!stacks) {
        empty.textContent = "This session has no stacks.";
        return;
      }
      svg = flamegraphSkeleton(document, stacks.names);
      place.append(svg);
    },
    // Draws the selection, and returns its numbers.
    async draw() {
      const turn = ++drawing, { one, two, filters } = selected;
      if (!stacks) return null;
      const weights = new Float64Array(stacks.callers.length), before = two && new Float64Array(stacks.callers.length);
      const sums = await sumsOf(sessions, one, filters, weights), others = two && await sumsOf(sessions, two, filters, before);
      if (turn !== drawing) return null;
      shown?.destroy();
      shown = null;
      const { unit } = sessions[one.session].kinds.get(filters.kind) ?? { unit: "samples" };
      const perCall = others && sums.calls > 0 && others.calls > 0;
      const factor = !others ? 1 : perCall ? sums.calls / others.calls : others.seconds > 0 && sums.seconds > 0 ? sums.seconds / others.seconds : 1;
      const decimals = others && unit !== "nanoseconds" ? 2 : 0;
      const boxes = boxesOf(stacks.ordered, weights, others ? { before, factor, decimals } : {});
      const result = { sums, others, perCall };
      empty.hidden = boxes.weight > 0;
      svg.toggleAttribute("hidden", boxes.weight === 0);
      if (boxes.weight === 0) {
        empty.textContent = `No stacks (${filterText(filters)}) in ${phraseOf(sessions, one)}.`;
        page.onSearch(null);
        return result;
      }
      const drawn = boxes.depth.length - 1;
      const foot = drawn < boxes.frames ? [`${grouped(drawn)} of ${counted(boxes.frames, "frame")} drawn; the others are narrower than a pixel.`] : [];
      if (others) foot.push(perCall ? "Weights before are scaled to as many calls." : "Weights before are scaled to as long a time.");
      if (!sessions[one.session].data.stacksHaveTime) foot.push("Stacks of the whole session: it has no samples.jsonl.");
      const profile = {
        ...stacks.names, unit: unit === "nanoseconds" ? "ns" : unit === "samples" ? "samples" : filters.kind, decimals, boxes, foot,
        title: one.command ?? one.process ?? allOf(sessions[one.session]).replace(/^a/, "A"),
        subtitle: others ? `${filterText(filters)}: ${phraseOf(sessions, one)}, compared with ${phraseOf(sessions, two)}` : `${filterText(filters)}: ${phraseOf(sessions, one)}`,
      };
      if (others) profile.difference = { scale: factor, sample: unit === "samples" ? 1 : null, negated: false };
      shown = showFlamegraph(svg, profile, {
        readAddress: () => page.flameAddress,
        writeAddress(text, { replace }) {
          page.flameAddress = text;
          page.remember(!replace);
        },
        onSearch: (matches) => page.onSearch(matches),
      });
      return result;
    },
  };
}
