// Line charts over time, drawn as SVG at the size they have on the screen. Every chart has a legend with the newest
// values, and says the values under the pointer or, with the arrow keys, under its cursor.

import { html, svg, time } from "/dom.js";

const HEIGHT = 180;
const MARGIN = { left: 42, right: 10, top: 10, bottom: 22 };
const NICE = [1, 2, 2.5, 5, 10];

/** A round step that cuts `range` into at most `count` parts. */
function niceStep(range, count) {
  const rough = range / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  return NICE.map((factor) => factor * power).find((step) => step >= rough) ?? rough;
}

export class Chart {
  /**
   * @param figure element that the chart fills
   * @param title, unit what it shows
   * @param stacked whether the values of all series add up
   * @param whole whether values are whole numbers, drawn as steps, with 0 on top (rungs)
   */
  constructor(figure, { title, unit, stacked = false, whole = false, limits = null, empty = "Nothing was measured yet." }) {
    Object.assign(this, { figure, title, unit, stacked, whole, limits, empty });
    this.series = [];
    this.times = [];
    this.cursor = null;
    this.legend = html("ul", { className: "legend" });
    this.plot = html("div", { className: "plot", tabIndex: 0, role: "img" });
    figure.replaceChildren(html("figcaption", {}, html("h3", { textContent: title }, html("small", { textContent: ` ${unit}` }))), this.plot, this.legend);
    this.plot.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.plot.addEventListener("pointerleave", () => this.move(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  /** Show `series` ([{name, tone, values}]) over `times` (ms); null is a gap. */
  show(times, series) {
    this.times = times;
    this.series = series;
    this.draw();
  }

  point(x) {
    const { left, right } = MARGIN;
    const share = (x - left) / (this.plot.clientWidth - left - right);
    const [first, last] = [this.times[0], this.times.at(-1)];
    const wanted = first + share * (last - first);
    const nearest = this.times.reduce((best, at, index) => (Math.abs(at - wanted) < Math.abs(this.times[best] - wanted) ? index : best), 0);
    this.move(this.times.length ? nearest : null);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = this.cursor ?? this.times.length - 1;
    this.move(Math.max(0, Math.min(this.times.length - 1, from + step)));
  }

  move(cursor) {
    if (cursor === this.cursor) return;
    this.cursor = cursor;
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    const known = this.series.some(({ values }) => values.some((value) => value !== null));
    if (this.times.length < 2 || !known) {
      this.plot.replaceChildren(html("p", { className: "empty", textContent: this.empty }));
      this.legend.replaceChildren();
      return;
    }
    const frame = this.frame(width);
    const picture = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    picture.append(...this.grid(frame), ...this.lines(frame), ...this.mark(frame));
    this.plot.replaceChildren(picture);
    this.describe();
  }

  /** Where values and times lie in the picture. */
  frame(width) {
    const first = this.times[0];
    const span = Math.max(1, this.times.at(-1) - first);
    const [low, high] = this.range();
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const up = (value) => MARGIN.top + inner.height * (this.whole ? (value - low) / (high - low) : 1 - (value - low) / (high - low));
    return { width, low, high, x: (at) => MARGIN.left + (inner.width * (at - first)) / span, y: up, span, first };
  }

  range() {
    if (this.limits) return this.limits(this.series);
    const values = this.stacked
      ? this.times.map((_, index) => this.series.reduce((sum, { values }) => sum + (values[index] ?? 0), 0))
      : this.series.flatMap(({ values }) => values.filter((value) => value !== null));
    const top = Math.max(0, ...values);
    return [0, top ? top * 1.08 : 1];
  }

  grid({ width, low, high, x, y, span, first }) {
    const step = this.whole ? Math.max(1, niceStep(high - low, 4)) : niceStep(high - low, 4);
    const levels = [];
    for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) levels.push(value);
    const digits = step < 1 ? 1 : 0;
    const marks = [0, 1, 2, 3].slice(0, width < 420 ? 3 : 4).map((number, _, all) => first + (span * number) / (all.length - 1));
    return [
      ...levels.map((value) => svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) })),
      ...levels.map((value) => svg("text", { class: "axis", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(digits))),
      ...marks.map((at, index) => svg("text", {
        class: "axis", x: x(at), y: HEIGHT - 4, "text-anchor": index === 0 ? "start" : index === marks.length - 1 ? "end" : "middle",
      }, time(at))),
    ];
  }

  lines({ x, y }) {
    const floor = this.times.map(() => 0);
    return this.series.flatMap(({ tone, values }) => {
      const tops = values.map((value, index) => (this.stacked ? floor[index] + (value ?? 0) : value));
      const below = [...floor];
      if (this.stacked) tops.forEach((top, index) => (floor[index] = top));
      const line = this.path(tops, x, y);
      if (!this.stacked) return [svg("path", { class: `line ${tone}`, d: line })];
      const back = this.times.map((at, index) => `L${x(at).toFixed(1)},${y(below[index]).toFixed(1)}`).reverse().join("");
      return [svg("path", { class: `area ${tone}`, d: `${line}${back}Z` })];
    });
  }

  path(values, x, y) {
    let pen = "M";
    let before = null;
    return values.map((value, index) => {
      if (value === null || value === undefined) {
        pen = "M";
        return "";
      }
      const place = `${x(this.times[index]).toFixed(1)},${y(value).toFixed(1)}`;
      const corner = this.whole && pen === "L" ? `L${x(this.times[index]).toFixed(1)},${y(before).toFixed(1)}` : "";
      const drawn = `${corner}${pen}${place}`;
      pen = "L";
      before = value;
      return drawn;
    }).join("");
  }

  mark({ x }) {
    if (this.cursor === null) return [];
    const at = x(this.times[this.cursor]);
    return [svg("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom })];
  }

  describe() {
    const index = this.cursor ?? this.times.length - 1;
    const value = (values) => (values[index] === null || values[index] === undefined ? "–" : values[index].toFixed(this.whole ? 0 : values[index] < 10 ? 2 : 1));
    const items = this.series.map(({ name, tone, values }) =>
      html("li", {}, html("i", { className: `key ${tone}` }), html("span", { textContent: name }), html("strong", { textContent: value(values) })));
    this.legend.replaceChildren(html("li", { className: "when", textContent: time(this.times[index]) }), ...items);
    const told = this.series.map(({ name, values }) => `${name} ${value(values)}`).join(", ");
    this.plot.setAttribute("aria-label", `${this.title}, ${this.unit}, ${time(this.times[index])}: ${told}`);
  }
}
