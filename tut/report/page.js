// What the figures of a report do where scripts may run: tell values, zoom, hide arms, show single seeds.
//
// All is read from the drawings. Their groups say of which arm they are and what they show (`arm-3 mean`,
// `arm-3 seed seed-0`: tut/report/drawing.py), and each pair of axes says what it measures (`data-x="linear 0 900"`:
// tut/report/svg.py).
"use strict";

const NEAR = 40; // pixels on the screen, from the pointer to a dot
const DRAGGED = 8; // pixels of a drawing, from where a selection counts

/** One axis of a panel. What it shows is a stretch of pixels of the drawing as it was; all of them, unless zoomed. */
class Axis {
  constructor(words, start, end, group) {
    const [kind, low, high] = words.split(" ");
    Object.assign(this, { kind, start, end, group, view: [start, end] });
    this.ends = [low, high].map((value) => (kind === "log" ? Math.log10(value) : Number(value)));
    this.ticks = group ? [...group.querySelectorAll(":scope > g[id*=tick_]")] : [];
  }

  get zoomed() {
    return this.view[0] !== this.start || this.view[1] !== this.end;
  }

  /** Return the value at a pixel of the drawing as it was. */
  value(pixel) {
    const linear = this.ends[0] + ((pixel - this.start) / (this.end - this.start)) * (this.ends[1] - this.ends[0]);
    return this.kind === "log" ? 10 ** linear : linear;
  }

  /** Return where a pixel of the drawing as it was is now; `undo` does the reverse. */
  moved(pixel) {
    return this.start + ((pixel - this.view[0]) / (this.view[1] - this.view[0])) * (this.end - this.start);
  }

  undo(pixel) {
    return this.view[0] + ((pixel - this.start) / (this.end - this.start)) * (this.view[1] - this.view[0]);
  }

  text(value) {
    if (this.kind === "log") return value.toPrecision(3);
    const decimals = Math.ceil(-Math.log10(Math.abs(this.ends[1] - this.ends[0]) / 2000));
    return value.toFixed(Math.min(8, Math.max(0, decimals))).replace("-", "\u2212");
  }

  /** Replace the ticks of the drawing by ones for what is shown. */
  drawTicks(horizontal) {
    this.group?.querySelectorAll(".zoomed").forEach((tick) => tick.remove());
    for (const tick of this.ticks) tick.style.display = this.zoomed ? "none" : "";
    if (!this.zoomed || !this.ticks.length) return;
    const model = this.ticks[0];
    const at = Number(model.querySelector("use").getAttribute(horizontal ? "x" : "y"));
    const [low, high] = this.view.map((pixel) => this.value(pixel));
    const step = roundStep(Math.abs(high - low));
    const decimals = Math.max(0, -Math.floor(Math.log10(step)));
    for (const value of multiples(step, Math.min(low, high), Math.max(low, high))) {
      const unwarped = this.kind === "log" ? Math.log10(value) : value;
      const part = (unwarped - this.ends[0]) / (this.ends[1] - this.ends[0]);
      const by = this.moved(this.start + part * (this.end - this.start)) - at;
      const tick = model.cloneNode(true);
      tick.classList.add("zoomed");
      tick.style.display = "";
      tick.setAttribute("transform", horizontal ? `translate(${by} 0)` : `translate(0 ${by})`);
      const label = tick.querySelector("text");
      if (label) label.textContent = value.toFixed(decimals).replace("-", "\u2212");
      this.group.append(tick);
    }
  }
}

/** Return a round number that divides a range into about five. */
function roundStep(range) {
  const power = 10 ** Math.floor(Math.log10(range / 4));
  return power * [1, 2, 5, 10].find((one) => range / (one * power) <= 6);
}

function multiples(step, low, high) {
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, n) => (first + n) * step);
}

/** A pair of axes, and what is drawn in them. */
class Panel {
  constructor(group) {
    const clip = group.querySelector("[clip-path]").getAttribute("clip-path");
    this.clip = document.getElementById(clip.slice(5, -1)).firstElementChild;
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(this.clip.getAttribute(name)));
    const [xGroup, yGroup] = group.querySelectorAll(':scope > g[id*="matplotlib.axis_"]');
    this.words = group.dataset.x;
    this.x = new Axis(group.dataset.x, x, x + width, xGroup);
    this.y = new Axis(group.dataset.y, y + height, y, yGroup);
    this.shapes = [...group.querySelectorAll("path[clip-path], [clip-path] > use")].map((element) => {
      const isPath = element.tagName === "path";
      return { element, d: isPath ? element.getAttribute("d") : null, at: isPath ? null : place(element) };
    });
    this.series = [...group.querySelectorAll(":scope > g[class^=arm-]")].map((drawn) => ({
      drawn,
      arm: drawn.classList[0].slice("arm-".length),
      kind: drawn.classList[1],
      seed: drawn.classList[2]?.slice("seed-".length),
      points: pointsOf(drawn),
    }));
  }

  contains({ x, y }) {
    return x >= this.x.start && x <= this.x.end && y >= this.y.end && y <= this.y.start;
  }

  redraw() {
    for (const { element, d, at } of this.shapes) {
      if (d) {
        const move = (_, x, y) => `${this.x.moved(x).toFixed(2)} ${this.y.moved(y).toFixed(2)}`;
        element.setAttribute("d", d.replace(/(-?[\d.]+) (-?[\d.]+)/g, move));
      } else {
        element.setAttribute("x", this.x.moved(at.x));
        element.setAttribute("y", this.y.moved(at.y));
      }
    }
    this.x.drawTicks(true);
    this.y.drawTicks(false);
  }

  /** Show the means that lie in the stretch of x that is shown. */
  fitUpwards() {
    const [left, right] = this.x.view;
    const heights = this.series
      .filter(({ drawn, kind }) => kind === "mean" && !drawn.hasAttribute("hidden"))
      .flatMap(({ points }) => points.filter(({ x }) => x >= left && x <= right).map(({ y }) => y));
    const [top, bottom] = [Math.min(...heights), Math.max(...heights)];
    const room = 0.1 * (bottom - top);
    if (room > 0) this.y.view = [bottom + room, top - room];
  }

  /** Return the points that a pointer means, the nearest first: of lines, one on each; else the nearest dot. */
  near({ x, y }, perPixel) {
    const shown = this.series.filter(({ drawn, kind }) => {
      return ["mean", "seed", "dot"].includes(kind) && getComputedStyle(drawn).display !== "none";
    });
    const points = shown.flatMap((series) =>
      series.points.map((point) => ({ series, at: point, x: this.x.moved(point.x), y: this.y.moved(point.y) })),
    );
    const seen = points.filter((point) => this.contains(point));
    if (!seen.length) return [];
    const lines = shown.some(({ kind, drawn }) => kind === "mean" && drawn.querySelector(":scope > path"));
    if (lines) {
      const nearest = seen.reduce((a, b) => (Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a)).x;
      return seen
        .filter((point) => Math.abs(point.x - nearest) < 0.5)
        .sort((a, b) => Math.abs(a.y - y) - Math.abs(b.y - y));
    }
    const distance = (point) => Math.hypot(point.x - x, point.y - y) / perPixel;
    const best = seen.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    return distance(best) < NEAR ? [best] : [];
  }

  /** Return a point's value in words, with the interval that is drawn at it. */
  told({ series, at }) {
    const along = this.y.kind === "names" ? "x" : "y";
    const across = along === "x" ? "y" : "x";
    const axis = this[along];
    const value = axis.text(axis.value(at[along]));
    if (series.kind !== "mean") return value;
    // Where an arm has several means, as of the two roles' gradients, their bands are drawn in the same order.
    const own = (...kinds) => this.series.filter(({ arm, kind }) => arm === series.arm && kinds.includes(kind));
    const around = own("band", "interval")[own("mean").indexOf(series)];
    const ends = (around?.points ?? [])
      .filter((point) => Math.abs(point[across] - at[across]) < 0.02)
      .map((point) => axis.value(point[along]));
    if (ends.length < 2) return value;
    return `${value} (${axis.text(Math.min(...ends))} to ${axis.text(Math.max(...ends))})`;
  }
}

function place(element) {
  return { x: Number(element.getAttribute("x")), y: Number(element.getAttribute("y")) };
}

/** Return the points of a line, of an area's edge, or of markers. */
function pointsOf(drawn) {
  const path = drawn.querySelector(":scope > path");
  if (!path) return [...drawn.querySelectorAll("use")].map(place);
  return [...path.getAttribute("d").matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map(([, x, y]) => ({ x: Number(x), y: Number(y) }));
}

/** Let one drawing answer the pointer. */
function enliven(svg, tooltip, names) {
  const panels = [...svg.querySelectorAll("g.axes")].filter((axes) => axes.querySelector("[clip-path]")).map((axes) => new Panel(axes));
  const reset = document.createElement("button");
  Object.assign(reset, { className: "reset", textContent: "whole", title: "undo the zoom (or double-click)", hidden: true });
  svg.after(reset);
  const selection = svg.appendChild(document.createElementNS(svg.namespaceURI, "rect"));
  selection.setAttribute("class", "selection");
  let dragged = null;

  const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());

  function showWhole() {
    for (const panel of panels) {
      for (const axis of [panel.x, panel.y]) axis.view = [axis.start, axis.end];
      panel.redraw();
    }
    reset.hidden = true;
  }

  function zoom(panel, from, to) {
    const stretch = (axis, a, b) => {
      const ends = [a, b].map((pixel) => axis.undo(Math.min(Math.max(pixel, Math.min(axis.start, axis.end)), Math.max(axis.start, axis.end))));
      return ends.sort((one, other) => (axis.start < axis.end ? one - other : other - one));
    };
    const wide = Math.abs(from.x - to.x) > DRAGGED && panel.x.kind !== "names";
    const high = Math.abs(from.y - to.y) > DRAGGED && panel.y.kind !== "names";
    if (!wide && !high) return;
    const x = wide ? stretch(panel.x, from.x, to.x) : panel.x.view;
    const parts = x.map((pixel) => (pixel - panel.x.start) / (panel.x.end - panel.x.start));
    if (high) panel.y.view = stretch(panel.y, from.y, to.y);
    for (const other of panels.filter(({ words }) => words === panel.words)) {
      other.x.view = parts.map((part) => other.x.start + part * (other.x.end - other.x.start));
      if (wide && !(high && other === panel) && other.y.kind !== "names") other.fitUpwards();
      other.redraw();
    }
    reset.hidden = false;
  }

  function tell(event) {
    const point = at(event);
    const panel = panels.find((one) => one.contains(point));
    const near = panel ? panel.near(point, 1 / svg.getScreenCTM().a) : [];
    tooltip.hidden = !near.length;
    if (!near.length) return;
    const isLine = near.length > 1 || panel.series.some(({ kind }) => kind === "seed");
    const title = isLine && panel.x.kind !== "names" ? `${svg.dataset.xName} ${panel.x.text(panel.x.value(near[0].at.x))}` : "";
    const lines = [...near].sort((a, b) => a.y - b.y).map((one) => {
      const line = document.createElement("div");
      const { arm, seed } = one.series;
      line.append(names.get(arm).swatch.cloneNode(true), `${names.get(arm).text}${seed === undefined ? "" : `, seed ${seed}`} `);
      line.append(Object.assign(document.createElement("b"), { textContent: panel.told(one) }));
      line.classList.toggle("nearest", one === near[0] && near.length > 1);
      return line;
    });
    tooltip.replaceChildren(...(title ? [Object.assign(document.createElement("div"), { textContent: title })] : []), ...lines);
    const width = tooltip.offsetWidth;
    const left = event.clientX + 16 + width < innerWidth ? event.clientX + 16 : event.clientX - 16 - width;
    tooltip.style.left = `${Math.max(4, left) + scrollX}px`;
    tooltip.style.top = `${event.clientY + scrollY + 12}px`;
  }

  svg.addEventListener("pointerdown", (event) => {
    const point = at(event);
    const panel = panels.find((one) => one.contains(point));
    if (event.button || event.pointerType === "touch" || !panel) return;
    event.preventDefault();
    dragged = { panel, point };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!dragged) return tell(event);
    const point = at(event);
    selection.setAttribute("x", Math.min(point.x, dragged.point.x));
    selection.setAttribute("y", Math.min(point.y, dragged.point.y));
    selection.setAttribute("width", Math.abs(point.x - dragged.point.x));
    selection.setAttribute("height", Math.abs(point.y - dragged.point.y));
  });
  svg.addEventListener("pointerup", (event) => {
    if (dragged) zoom(dragged.panel, dragged.point, at(event));
    dragged = null;
    selection.setAttribute("width", 0);
  });
  svg.addEventListener("pointerleave", () => (tooltip.hidden = true));
  svg.addEventListener("dblclick", showWhole);
  reset.addEventListener("click", showWhole);
}

/** Let the names of arms hide and show them, and those of seeds show and hide their lines. */
function toggles() {
  const arms = [...document.querySelectorAll("button[data-arm]")];
  const show = (button, shown) => {
    button.setAttribute("aria-pressed", shown);
    const drawn = document.querySelectorAll(`svg .arm-${button.dataset.arm}`);
    drawn.forEach((group) => group.toggleAttribute("hidden", !shown));
  };
  const isShown = (button) => button.getAttribute("aria-pressed") === "true";
  for (const button of arms) {
    button.addEventListener("click", () => show(button, !isShown(button)));
    button.addEventListener("dblclick", () => {
      const alone = arms.every((other) => other === button || !isShown(other));
      arms.forEach((other) => show(other, alone || other === button));
    });
  }
  const seeds = [...document.querySelectorAll("button[data-seed]")];
  for (const button of seeds) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", !isShown(button));
      const drawn = document.querySelectorAll(`svg .seed-${button.dataset.seed}`);
      drawn.forEach((group) => group.classList.toggle("shown", isShown(button)));
      document.body.classList.toggle("of-some-seeds", seeds.some(isShown));
    });
  }
}

document.body.classList.add("alive");
const tooltip = document.body.appendChild(Object.assign(document.createElement("div"), { className: "tooltip", hidden: true }));
const names = new Map(
  [...document.querySelectorAll("button[data-arm]")].map((button) => [
    button.dataset.arm,
    { text: button.textContent.trim(), swatch: button.querySelector("svg") },
  ]),
);
document.querySelectorAll("figure > svg").forEach((svg) => enliven(svg, tooltip, names));
toggles();
