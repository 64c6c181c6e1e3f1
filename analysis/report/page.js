"use strict";
// Tables sort by a click on a header; without this script they stand in the order of the plan.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") === "ascending";
      for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.o ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [Number(a[0]), Number(b[0])];
        const numbers = [x, y].filter((value) => !Number.isNaN(value)).length;
        // Numbers before words, in both directions, so that a gap stays below.
        if (numbers === 1) return Number.isNaN(x) ? 1 : -1;
        const order = numbers === 2 ? x - y : a[0].localeCompare(b[0], undefined, { numeric: true });
        return down ? -order : order;
      };
      body.append(...[...body.rows].map((row) => [key(row), row]).sort(compare).map((pair) => pair[1]));
    });
  });
}
// A link may lead into something closed.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target?.scrollIntoView();
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();
// A value in full: every link replaced by the value that it leads to.
const whole = (code) =>
  [...code.childNodes]
    .map((node) => (node.hash ? whole(document.querySelector(`${node.hash} pre code`)) : node.data))
    .join("");
for (const article of document.querySelectorAll("article")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy as canonical JSON";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(whole(article.querySelector("pre code")));
    button.textContent = "Copied";
  });
  article.firstElementChild.append(" ", button);
}
