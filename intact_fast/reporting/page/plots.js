"use strict";
// Curves and histograms, in the colours of the page.

const drawn = new Set();

function theme() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    series: [0, 1, 2].map((i) => value(`--series-${i}`)),
    text: value("--text"),
    muted: value("--muted"),
    line: value("--line"),
    surface: value("--surface"),
    font: style.fontFamily,
  };
}

function curves(panel, colours) {
  const values = panel.series.flatMap((line) => line.y);
  const traces = panel.series.map((line) => ({
    x: line.x,
    y: line.y,
    name: line.label || panel.title,
    mode: line.x.length < panel.marked ? "lines+markers" : "lines",
    line: { color: colours.series[line.colour], width: 1.8 },
    marker: { size: 4 },
    hovertemplate: "%{y:.4~g}",
  }));
  const yaxis = { rangemode: panel.from_zero ? "tozero" : "normal" };
  // first values far below would flatten the rest; they are there for who zooms out
  if (panel.floor !== null && Math.min(...values) < panel.floor) {
    const greatest = Math.max(...values, panel.floor + 0.1);
    const margin = 0.06 * (greatest - panel.floor);
    yaxis.range = [panel.floor - margin, greatest + margin];
  }
  return { traces, layout: { yaxis, xaxis: { rangemode: "tozero" } } };
}

/** Labels of thresholds, which stand beside their lines where they would cover each other. */
function labels(marks, perPixel, colours) {
  const near = (a, b) => a && b && Math.abs(a.similarity - b.similarity) < 38 * perPixel;
  return marks.map((mark, i) => ({
    x: mark.similarity,
    y: 1,
    yref: "paper",
    yanchor: "bottom",
    xanchor: near(mark, marks[i + 1]) ? "right" : near(mark, marks[i - 1]) ? "left" : "center",
    showarrow: false,
    text: `${Number(mark.rate.toPrecision(3))} %`,
    font: { size: 10, color: colours.muted },
  }));
}

function similarities(panel, colours, width) {
  const traces = panel.series.map((kind) => ({
    x: panel.edges,
    y: [...kind.density, kind.density.at(-1)],
    customdata: kind.above,
    name: kind.label,
    mode: "lines",
    line: { color: colours.series[kind.colour], width: 1.4, shape: "hv" },
    fill: "tozeroy",
    fillcolor: translucent(colours.series[kind.colour]),
    hovertemplate: "%{customdata:.1f} % above",
  }));
  const marks = [...panel.thresholds].sort((a, b) => a.similarity - b.similarity);
  const range = [panel.edges[0], panel.edges.at(-1)];
  const shapes = marks.map((mark) => ({
    type: "line",
    x0: mark.similarity,
    x1: mark.similarity,
    yref: "paper",
    y0: 0,
    y1: 1,
    line: { color: colours.muted, width: 1.2, dash: "5px,3px" },
  }));
  const annotations = labels(marks, (range[1] - range[0]) / width, colours);
  const yaxis = { showticklabels: false, showgrid: false, rangemode: "tozero" };
  const xaxis = { range, hoverformat: ".4~g" };
  return { traces, layout: { yaxis, xaxis, shapes, annotations, margin: { l: 8, r: 8, t: 18, b: 26 } } };
}

/** A colour as Plotly takes it, at a quarter of its opacity. */
function translucent(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${r}, ${g}, ${b}, 0.25)`;
}

function draw(canvas) {
  const colours = theme();
  const panel = data.plots[canvas.dataset.plot][Number(canvas.dataset.index)];
  const { traces, layout } = { curves, similarities }[canvas.dataset.plot](panel, colours, canvas.clientWidth);
  const axis = { gridcolor: colours.line, linecolor: colours.line, zeroline: false, automargin: false };
  const complete = {
    margin: { l: 46, r: 10, t: 8, b: 26 },
    height: canvas.dataset.plot === "curves" ? 190 : 150,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: colours.font, size: 11, color: colours.muted },
    showlegend: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text } },
    // a finger that scrolls the page must not zoom
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...layout,
    xaxis: { ...axis, showgrid: false, nticks: 6, ...layout.xaxis },
    yaxis: { ...axis, nticks: 5, ...layout.yaxis },
  };
  Plotly.react(canvas, traces, complete, { displayModeBar: false, responsive: true, doubleClick: "reset" });
  drawn.add(canvas);
}

const canvases = document.querySelectorAll("[data-plot]");
if (canvases.length) {
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        observer.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const canvas of canvases) observer.observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
  window.addEventListener("beforeprint", () => canvases.forEach(draw));
}
