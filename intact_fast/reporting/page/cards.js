"use strict";
// Elements of a query and its lists. All text is set as text, so that no name of a file becomes markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const baseName = (path) => path.split(/[\\/]/).pop();
const VIEW_LABELS = data.kind === "report" ? { lr: "LR", sr: "SR", hr: "HR" } : { lr: "Query", sr: "SR" };

function picture(index, alt) {
  return element("img", { src: data.pictures[index], alt, loading: "lazy", decoding: "async" });
}

function facts(query) {
  if (data.kind === "search") return query.size + (query.enhanced ? ", through G" : "");
  const r = query.r === null ? "natively LR" : `r = ${query.r}`;
  return `person ${query.pid} · camera ${query.camera} · ${r}`;
}

/** How AP changes with SR, in a colour and with a sign. */
function change(query) {
  if (query.change === null || query.change === undefined) return null;
  const kind = query.change > 0 ? "rises" : query.change < 0 ? "falls" : "stays";
  const sign = { rises: "▲ +", falls: "▼ −", stays: "± " }[kind];
  return element("span", { class: `change ${kind}` }, `${sign}${Math.abs(query.change).toFixed(1)} AP`);
}

/** The query itself, as each of its views. */
function views(query) {
  const figures = Object.entries(query.pictures).map(([view, index]) =>
    element(
      "figure",
      {},
      picture(index, `${VIEW_LABELS[view]} of ${baseName(query.name)}`),
      element("figcaption", {}, VIEW_LABELS[view]),
    ),
  );
  return element("div", { class: "views" }, ...figures);
}

function hit(found, rank, detailed) {
  const [row, score, right] = found;
  const [name, index, pid, camera] = data.gallery[row];
  const words = data.kind === "report" ? [", wrong", ", right"] : [", not accepted", ", accepted"];
  const word = right === null ? "" : words[right];
  const who = pid === null ? "" : `, person ${pid}, camera ${camera}`;
  const alt = `Rank ${rank}${word}: ${baseName(name)}${who}`;
  // what a search does not accept need not be wrong
  const no = data.kind === "report" && right !== null;
  const mark = right ? " ✓" : no ? " ✗" : "";
  const kind = right ? " right" : no ? " wrong" : "";
  const item = element(
    "li",
    { class: `hit${kind}`, "data-row": row, title: `${name}\n${data.score} ${score}` },
    picture(index, alt),
    element("span", { class: "rank", "aria-hidden": "true" }, `${rank}${mark}`),
  );
  if (detailed) {
    const lines =
      pid === null
        ? [baseName(name), score.toFixed(3)]
        : [`person ${pid}`, `camera ${camera}`, `${data.score} ${score}`];
    item.append(...lines.map((line) => element("small", {}, line)));
  } else if (data.kind === "search") {
    item.append(element("small", { class: "muted" }, score.toFixed(2)));
  }
  return item;
}

function summary(query, view) {
  if (data.kind === "search") {
    if (query.limit === null) return "";
    const count = query.hits[view].filter(([, , accepted]) => accepted).length;
    return `${count || "none"} above ${query.limit.toFixed(4)}`;
  }
  const first = query.first[view];
  return first === null ? "no right match" : `first right match at rank ${first} · AP ${query.ap[view].toFixed(1)}`;
}

/** What HR, which has no list here, would have given. */
function bound(query) {
  if (query.first?.hr === undefined) return null;
  const text = element("span", { class: "muted" }, `upper bound: ${summary(query, "hr")}`);
  return element("div", { class: "list bound" }, element("h4", {}, "HR", text));
}

/** One ranked list; the whole of it, or its head. */
function list(query, { view, label }, detailed) {
  const hits = detailed ? query.hits[view] : query.hits[view].slice(0, 10);
  const items = hits.map((found, i) => hit(found, i + 1, detailed));
  const heading = element("h4", {}, label, element("span", { class: "muted" }, summary(query, view)));
  return element("div", { class: "list" }, heading, element("ol", {}, ...items));
}

function card(query) {
  const name = baseName(query.name);
  const open = element("button", { type: "button", class: "enlarge", "aria-label": `Enlarge ${name}` }, "Enlarge");
  return element(
    "article",
    { class: "query", "data-query": query.keys.order },
    element(
      "header",
      {},
      element(
        "div",
        {},
        element("h3", { title: query.name }, name),
        element("span", { class: "muted" }, facts(query)),
        change(query),
      ),
      open,
    ),
    element("div", { class: "body" }, views(query), element("div", {}, ...data.lists.map((each) => list(query, each)))),
  );
}
