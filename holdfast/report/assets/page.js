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
    const buttons = [...document.querySelectorAll(`button[data-of="${input.id}"]`)];
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const pressed = buttons.find((button) => button.getAttribute("aria-pressed") === "true");
      // By the row's own mark and not by its text, in which the same word may stand as an answer.
      const kept = (row) => !pressed || row.dataset.kept === pressed.dataset.keeps;
      rows.forEach((row, place) => (row.hidden = !kept(row) || !words.every((word) => texts[place].includes(word))));
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length || pressed ? `${shown} of ${rows.length} rows` : "";
    };
    input.addEventListener("input", apply);
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true"; // A second press shows all again.
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && on));
        apply();
      });
    }
  }

  // Whoever follows a link to a section whose only table is folded wants to see it.
  const linked = location.hash && document.getElementById(location.hash.slice(1));
  const folded = linked && linked.parentElement.querySelector("details[data-folded]");
  if (folded) folded.open = true;

  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([data-folded])")) details.open = true;
  });
})();
