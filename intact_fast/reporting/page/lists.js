"use strict";
// Pages of queries: filters, order, paging.

const place = document.getElementById("queries");
const section = document.getElementById("ranked");

const pageCount = (queries) => Math.max(1, Math.ceil(queries.length / PER_PAGE));

function clampedPage(queries) {
  const page = Number.parseInt(state.page, 10) || 1;
  return Math.min(Math.max(page, 1), pageCount(queries));
}

function drawLists() {
  const queries = selected();
  const page = clampedPage(queries);
  state.page = String(page);
  const start = (page - 1) * PER_PAGE;
  const shown = queries.slice(start, start + PER_PAGE);
  place.replaceChildren(...shown.map(card));
  if (!shown.length) place.append(element("p", { class: "note" }, "No query passes these filters."));
  const total = data.queries.length;
  const range = shown.length ? `${start + 1}–${start + shown.length} of ${queries.length}` : "0";
  const left = queries.length < total ? ` (${total} without filters)` : "";
  section.querySelector(".count").textContent = `Queries ${range}${left}`;
  const filtered = ["r", "change", "find"].some((key) => state[key]);
  controls.querySelector("[data-reset]").hidden = !filtered;
  drawPagers(page, pageCount(queries));
  writeState();
}

function drawPagers(page, pages) {
  for (const pager of section.querySelectorAll(".pager")) {
    // rebuilt buttons would lose the focus of whoever pages by keyboard
    if (!pager.children.length) {
      pager.append(
        element("button", { type: "button", "data-page": "-1" }, "← Previous"),
        element("span", { class: "muted" }),
        element("button", { type: "button", "data-page": "1" }, "Next →"),
      );
    }
    pager.hidden = pages === 1;
    const [previous, text, next] = pager.children;
    text.textContent = `${page} / ${pages}`;
    text.setAttribute("aria-label", `Page ${page} of ${pages}`);
    previous.disabled = page === 1;
    next.disabled = page === pages;
  }
}

function turnPage(step) {
  const before = state.page;
  state.page = String(clampedPage(selected()) + step);
  drawLists();
  if (state.page === before) return;
  const top = section.querySelector(".controls").getBoundingClientRect().top;
  if (top < 0) section.querySelector(".controls").scrollIntoView();
}

controls.addEventListener("submit", (event) => event.preventDefault());
function filter({ target }) {
  // a field that is left tells its change a second time
  if (state[target.name] === target.value) return;
  state[target.name] = target.value;
  state.page = "1";
  drawLists();
}
for (const type of ["input", "change"]) controls.addEventListener(type, filter);
controls.querySelector("[data-reset]").addEventListener("click", () => {
  for (const key of ["r", "change", "find"]) {
    state[key] = "";
    if (controls.elements[key]) controls.elements[key].value = "";
  }
  state.page = "1";
  drawLists();
  controls.elements.find.focus();
});
section.addEventListener("click", (event) => {
  const button = event.target.closest("[data-page]");
  if (button) turnPage(Number(button.dataset.page));
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea, .scroll");
  if (typing || event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.key === "ArrowLeft") turnPage(-1);
  if (event.key === "ArrowRight") turnPage(1);
});
