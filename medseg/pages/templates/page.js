"use strict";
// Tables sort by their heads, numbers as numbers; what has none of either stays last, whichever way.
const collator = new Intl.Collator("en", { numeric: true });
const keyOf = cell => {
  const text = cell.dataset.key ?? cell.textContent.trim();
  return text === "" || text === "–" || cell.classList.contains("none") ? null : text;
};
const compare = (a, b) => {
  const difference = Number(a) - Number(b);
  return Number.isNaN(difference) ? collator.compare(a, b) : difference;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, n) => head.firstElementChild.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...body.rows].map(row => [keyOf(row.cells[n]), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
    body.append(...rows.map(([, row]) => row));
  }));
}
// Tables show the rows that have every word of the box and what is chosen beside it.
for (const filters of document.querySelectorAll(".filters")) {
  const body = document.getElementById(filters.dataset.table).tBodies[0], said = filters.querySelector("output");
  const words = filters.querySelector("input"), choices = [...filters.querySelectorAll("select")];
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of body.rows) {
      const text = wanted.length ? row.textContent.toLowerCase() : "";
      const fits = choices.every(each => !each.value || row.cells[each.dataset.column].textContent.trim() === each.value);
      row.hidden = !(fits && wanted.every(word => text.includes(word)));
      n += !row.hidden;
    }
    said.textContent = `${n} of ${body.rows.length} rows`;
  };
  words.addEventListener("input", apply);
  choices.forEach(each => each.addEventListener("change", apply));
}
// Charts name a mark where the pointer rests on it, and one after the other by the arrow keys.
for (const chart of document.querySelectorAll("svg.told-by-keys")) {
  const marks = [...chart.querySelectorAll(".mark")], said = document.createElement("output");
  if (!marks.length) continue;
  let at = -1;
  said.className = "readout";
  said.setAttribute("aria-live", "polite");
  chart.after(said);
  chart.setAttribute("tabindex", "0");
  chart.setAttribute("role", "application");
  chart.setAttribute("aria-label", `${chart.querySelector("title").textContent}. The arrow keys name the marks one by one.`);
  const tell = n => {
    marks[at]?.classList.remove("told");
    at = n;
    marks[at]?.classList.add("told");
    said.textContent = marks[at]?.querySelector("title").textContent ?? "";
  };
  chart.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") tell(-1);
    if (!step) return;
    event.preventDefault();
    tell((at + step + marks.length) % marks.length);
  });
  chart.addEventListener("pointerover", event => { const n = marks.indexOf(event.target.closest(".mark")); if (n >= 0) tell(n); });
  chart.addEventListener("blur", () => tell(-1));
}
