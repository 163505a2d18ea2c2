"use strict";

// A column of numbers tells them in data-value, "" where there is none, which stays at the end.
function compare(one, two) {
  if (one.dataset.value === undefined) {
    return one.textContent.trim().localeCompare(two.textContent.trim(), "en", { numeric: true });
  }
  return Number(one.dataset.value) - Number(two.dataset.value);
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const head = heads[column];
  const was = head.getAttribute("aria-sort");
  const first = head.classList.contains("number") ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = was === first ? other : first;
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const empty = (row) => row.cells[column].dataset.value === "";
  const rows = [...table.tBodies[0].rows].sort((one, two) => {
    if (empty(one) || empty(two)) return empty(one) - empty(two);
    return sign * compare(one.cells[column], two.cells[column]);
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => sort(table, column));
  });
}

// What a square says stands below the matrix, too: fingers cannot point without touching.
for (const squares of document.querySelectorAll(".squares")) {
  const readout = document.querySelector(".readout");
  squares.addEventListener("pointerover", (event) => {
    const title = event.target.querySelector("title");
    if (title) readout.textContent = title.textContent;
  });
}
