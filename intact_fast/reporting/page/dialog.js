"use strict";
// One query, large: its lists against each other.

const dialog = document.getElementById("enlarged");

function drawDialog() {
  const queries = selected();
  const at = queries.findIndex((query) => String(query.keys.order) === state.query);
  const query = queries[at];
  if (!query) {
    state.query = "";
    if (dialog.open) dialog.close();
    return;
  }
  const title = dialog.querySelector("h2");
  title.textContent = baseName(query.name);
  title.title = query.name;
  dialog.querySelector(".facts").replaceChildren(facts(query), change(query) ?? "");
  dialog.querySelector(".place").textContent = `${at + 1} of ${queries.length}`;
  dialog.querySelector("[data-step='-1']").disabled = at === 0;
  dialog.querySelector("[data-step='1']").disabled = at === queries.length - 1;
  const lists = element("div", { class: "lists" }, ...data.lists.map((each) => list(query, each, true)), bound(query));
  const content = dialog.querySelector(".content");
  content.replaceChildren(views(query), lists);
  content.scrollTop = 0;
  if (!dialog.open) dialog.showModal();
  writeState();
}

function step(by) {
  const queries = selected();
  const at = queries.findIndex((query) => String(query.keys.order) === state.query) + by;
  if (!queries[at]) return;
  state.query = String(queries[at].keys.order);
  state.page = String(1 + Math.floor(at / PER_PAGE));
  drawDialog();
}

place.addEventListener("click", (event) => {
  const query = event.target.closest("[data-query]");
  if (!query || !event.target.closest("button, img")) return;
  state.query = query.dataset.query;
  drawDialog();
});
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  // beside the content is the backdrop
  if (event.target === dialog || button?.hasAttribute("data-close")) dialog.close();
  else if (button?.dataset.step) step(Number(button.dataset.step));
});
dialog.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) {
    event.preventDefault();
    step(by);
  }
});
dialog.addEventListener("close", () => {
  const last = state.query;
  state.query = "";
  drawLists();
  place.querySelector(`[data-query="${CSS.escape(last)}"] .enlarge`)?.focus();
});
// the same gallery picture in the other list
for (const [type, on] of [["pointerover", true], ["pointerout", false]]) {
  dialog.addEventListener(type, (event) => {
    const row = data.lists.length > 1 ? event.target.closest(".hit")?.dataset.row : undefined;
    for (const same of row === undefined ? [] : dialog.querySelectorAll(`.hit[data-row="${row}"]`)) {
      same.classList.toggle("same", on);
    }
  });
}

function show() {
  readState();
  drawLists();
  if (state.query || dialog.open) drawDialog();
}
window.addEventListener("hashchange", show);
show();
