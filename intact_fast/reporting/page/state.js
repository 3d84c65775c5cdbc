"use strict";
// What the page shows, kept behind the # of its address, so that a view can be sent to someone.

const data = JSON.parse(document.getElementById("data").textContent);
const PER_PAGE = 10;
const controls = document.querySelector(".controls");
const DEFAULTS = { sort: controls.elements.sort.value, r: "", change: "", find: "", page: "1", query: "" };
const state = { ...DEFAULTS };

/** Take the state from the address; an address that names a section says nothing about it. */
function readState() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes("=")) return;
  const found = new URLSearchParams(hash);
  for (const key of Object.keys(DEFAULTS)) state[key] = found.get(key) ?? DEFAULTS[key];
  for (const key of ["sort", "r", "change", "find"]) {
    const control = controls.elements[key];
    if (control) control.value = state[key];
    // an unknown choice, or one that this page lacks
    if (!control || control.value !== state[key]) state[key] = DEFAULTS[key];
    if (control) control.value = state[key];
  }
}

function writeState() {
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  const hash = new URLSearchParams(changed).toString();
  if (hash === location.hash.slice(1)) return;
  history.replaceState(null, "", hash ? `#${hash}` : location.href.split("#")[0]);
}

const FILTERS = {
  moved: (query) => query.moved !== 0,
  forward: (query) => query.moved > 0,
  back: (query) => query.moved < 0,
  enhanced: (query) => query.enhanced,
  plain: (query) => !query.enhanced,
};

/** The queries that pass the filters, in the chosen order. */
function selected() {
  const wanted = state.find.trim().toLowerCase();
  const { field, sign } = controls.elements.sort.selectedOptions[0].dataset;
  const text = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) => {
    const [x, y] = [a.keys[field], b.keys[field]];
    if (x === y) return a.keys.order - b.keys.order;
    if (x === null || y === null) return x === null ? 1 : -1;
    return sign * (typeof x === "string" ? text.compare(x, y) : x - y);
  };
  return data.queries
    .filter((query) => !state.r || String(query.r ?? "native") === state.r)
    .filter((query) => !state.change || FILTERS[state.change](query))
    .filter((query) => !wanted || query.name.toLowerCase().includes(wanted) || String(query.pid) === wanted)
    .sort(compare);
}
