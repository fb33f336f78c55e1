"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (name, properties = {}) => Object.assign(document.createElement(name), properties);

// Every table header becomes a button that sorts by its column: numbers by value, dashes always last.
for (const table of all("table:has(caption)")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", title: "Sort" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
        return cell.querySelector(".hidden") ? null : cell.textContent.trim();
      };
      const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const order = typeof a === "number" && typeof b === "number"
          ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

// A click on a figure shows it as large as the window.
const dialog = document.querySelector("dialog");
for (const button of all(".enlarge")) {
  button.addEventListener("click", () => {
    const close = make("button", { type: "button", textContent: "Close" });
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(close, button.firstElementChild.cloneNode());
    dialog.showModal();
  });
}
dialog.addEventListener("click", (event) => { if (event.target !== dialog.querySelector("button")) dialog.close(); });

// The image that the page holds is the file to download.
for (const link of all("a[data-of]")) link.href = document.getElementById(link.dataset.of).src;

// A link to a run opens it.
const reveal = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", reveal);
reveal();

// The plot of all runs: checkboxes show and hide, the nearest point tells its value, and its run stands out.
for (const figure of all("#curves")) {
  const plot = figure.querySelector("svg"), tip = figure.querySelector("output");
  const groups = all(".run", plot);
  for (const box of all("input", figure)) {
    const group = groups.find((group) => group.dataset.run === box.value);
    box.addEventListener("change", () => group.classList.toggle("off", !box.checked));
  }
  const points = groups.flatMap((group) => all("polyline", group).flatMap((line) =>
    [...line.points].map(({ x, y }) => ({ x, y, group, series: line.dataset.series }))));
  const leave = () => {
    tip.textContent = "";
    for (const group of groups) group.classList.remove("dim");
  };
  plot.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    const far = (point) => Math.hypot(point.x - at.x, point.y - at.y);
    const shown = points.filter((point) => !point.group.classList.contains("off"));
    const near = shown.reduce((best, point) => (far(point) < far(best) ? point : best), shown[0]);
    if (!near || far(near) > 25) { leave(); return; }
    for (const group of groups) group.classList.toggle("dim", group !== near.group);
    const epoch = Number((near.x * plot.dataset.epoch).toFixed(1));
    const error = ((320 - near.y) * plot.dataset.error).toFixed(1);
    tip.textContent = `${near.group.dataset.run}, ${near.series}: ${error}% after ${epoch} epochs`;
    const side = new DOMPoint(near.x, near.y).matrixTransform(plot.getScreenCTM());
    const frame = figure.querySelector(".around").getBoundingClientRect();
    tip.style.left = `${Math.min(Math.max(side.x - frame.left - tip.offsetWidth / 2, 0), frame.width - tip.offsetWidth)}px`;
    tip.style.top = `${side.y - frame.top - tip.offsetHeight - 8}px`;
  });
  plot.addEventListener("pointerleave", leave);
  figure.querySelector("a[data-plot]").addEventListener("click", (event) => {
    const copy = plot.cloneNode(true);
    copy.prepend(make("style", { textContent: document.querySelector("style").textContent }));
    event.currentTarget.href = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  });
}
