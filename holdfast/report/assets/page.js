"use strict";
// Sorting by column heads, filtering by words, and opening for print what is folded, but tables of many pages. The page is complete without it.
(() => {
  const number = (text) => {
    const found = text.trim().replace(/−/g, "-").replace(/^</, "").match(/^[+-]?\d[\d.]*/);
    return found ? Number(found[0]) : null;
  };

  const sort = (table, column, head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => {
      const text = row.cells[column].textContent;
      return { row, text, value: number(text) };
    });
    rows.sort((a, b) => {
      if ((a.value === null) !== (b.value === null)) return a.value === null ? 1 : -1; // empty cells last, both ways
      const order = a.value === null ? a.text.localeCompare(b.text) : a.value - b.value;
      return down ? -order : order;
    });
    body.append(...rows.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, column, head));
      head.append(button);
    });
  }

  for (const input of document.querySelectorAll("input[data-filters]")) {
    const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const count = document.getElementById(input.id + "-count");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, place) => (row.hidden = !words.every((word) => texts[place].includes(word))));
      count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
    });
  }

  for (const button of document.querySelectorAll("button[data-fills]")) {
    const input = document.getElementById(button.dataset.fills);
    button.addEventListener("click", () => {
      input.value = input.value === button.textContent ? "" : button.textContent; // A second press shows all again.
      input.dispatchEvent(new Event("input"));
    });
  }

  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([data-folded])")) details.open = true;
  });
})();
