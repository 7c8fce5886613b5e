// The session's tables, which sort by a click on a column's head, and the glossary.

const cellTexts = {
  count: grouped, ns: duration, share: percent, rate: perSecond, bytes,
  change: (share) => (share > 0 ? "+" : "") + percent(share),
};
// A pair is a number, by which the column sorts, and the text that stands for it.
function cellText(value, kind) {
  if (value === null) return "";
  if (Array.isArray(value)) return value[1];
  return typeof value === "number" ? (cellTexts[kind] ?? grouped)(value) : value;
}

function tableOf(data, letter, most = 20) {
  const card = make("section", { class: "report-card" });
  card.append(make("h3", {}, letter ? `${data.title}, ${letter}` : data.title));
  if (data.about) card.append(make("p", { class: "report-about" }, ...withCode(data.about)));
  if (data.rows.length > 0) card.append(sortableTable(data, most));
  for (const note of data.notes) card.append(make("p", { class: "report-about" }, note));
  return card;
}
// `most` rows are shown at first.
function sortableTable(data, most = 20) {
  const head = make("tr"), body = make("tbody"), scroller = make("div", { class: "report-scroller", tabindex: 0, role: "region", "aria-label": data.title });
  let rows = data.rows, sorted = -1, isDescending = false, isWhole = data.rows.length <= most + 5;
  const heads = data.columns.map((column, number) => {
    const button = make("button", { type: "button", class: "report-sort", title: column.definition }, column.name);
    const cell = make("th", { scope: "col", class: column.kind === "text" ? "report-text" : "report-number" }, button);
    button.addEventListener("click", () => {
      // Numbers begin with the largest.
      isDescending = sorted === number ? !isDescending : column.kind !== "text";
      sorted = number;
      heads.forEach((other, at) => other.setAttribute("aria-sort", at !== number ? "none" : isDescending ? "descending" : "ascending"));
      rows = [...data.rows].sort((a, b) => compare(a[number], b[number]) * (isDescending ? -1 : 1));
      fill();
    });
    head.append(cell);
    return cell;
  });
  // What is not known is less than everything.
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null ? 0 : 1) - (b === null ? 0 : 1);
    const [one, other] = [a, b].map((value) => (Array.isArray(value) ? value[0] : value));
    if (typeof one === "number" && typeof other === "number") return one - other;
    return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
  };
  const more = make("button", { type: "button", class: "report-button report-more" });
  more.addEventListener("click", () => {
    isWhole = !isWhole;
    fill();
  });
  const fill = () => {
    body.replaceChildren(...(isWhole ? rows : rows.slice(0, most)).map((row) => {
      const line = make("tr");
      row.forEach((value, at) => {
        const kind = data.columns[at].kind, text = cellText(value, kind);
        line.append(make(at === 0 ? "th" : "td", { class: kind === "text" ? "report-text" : "report-number", scope: at === 0 ? "row" : null }, text));
      });
      return line;
    }));
    more.textContent = isWhole ? "Show fewer" : `Show all ${grouped(rows.length)}`;
  };
  fill();
  scroller.append(make("table", { class: "report-table" }, make("thead", {}, head), body));
  return data.rows.length > most + 5 ? make("div", {}, scroller, more) : scroller;
}

// Text with words of code between backticks.
const withCode = (text) => text.split("`").map((part, at) => (at % 2 === 1 ? make("code", {}, part) : part));
function glossaryOf(terms) {
  const list = make("dl", { class: "report-glossary" });
  for (const [term, meaning] of terms) list.append(make("div", {}, make("dt", {}, term), make("dd", {}, ...withCode(meaning))));
  return make("section", { id: "glossary" }, make("h2", {}, "Glossary"), list);
}

// A map's columns as a table, for those who can't see it.
function tableOfMap(map, view) {
  const { session, grid, panel } = map, rows = [];
  const command = session.commands[session.commandNumber.get(panel.command)];
  const isLatency = grid !== null && !grid.series && !grid.isWork;
  const text = (name, kind, definition) => ({ name, kind, definition });
  const columns = [text("from", "text", "When the column begins, UTC."), text("to", "text", "When it ends.")];
  if (command) columns.push(text("calls", "count", "Requests that were read."), text("errors", "count", "Error replies."));
  if (isLatency) columns.push(text(`${view.show} p50`, "ns", "The median."), text("p99", "ns", "The 99th percentile."), text("slots", "text", "Calls by latency: the lower edge of each slot, and how many."));
  if (grid?.isWork) columns.push(text("weight", "mixed", "Of its stacks."));
  for (let column = 0; column < session.columns; column++) {
    const row = [clock(columnStart(session, column)), clock(columnEnd(session, column))];
    if (command) row.push(command.calls[column], command.errors[column]);
    if (isLatency) {
      const filled = [];
      for (let at = 0; at < grid.rows; at++) {
        const count = grid.counts[at * grid.columns + column];
        if (count > 0) filled.push(`${duration(slotLower(grid.lowest + at))}: ${grouped(count)}`);
      }
      row.push(grid.total[column] > 0 ? percentileOf(grid, grid.low[column]) : null, grid.total[column] > 0 ? percentileOf(grid, grid.high[column]) : null, filled.join(", "));
    }
    if (grid?.isWork) {
      let sum = 0;
      for (let at = 0; at < grid.rows; at++) sum += grid.counts[at * grid.columns + column];
      row.push([sum, weightText(session, selected.filters.kind, sum)]);
    }
    rows.push(row);
  }
  return sortableTable({ title: `${panel.title}, ${view.show}`, columns, rows });
}
