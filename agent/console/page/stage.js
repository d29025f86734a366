// The editor's picture: shapes over a frame of the camera, with corners that are dragged by mouse, pen or finger and
// moved by keys. It changes the shapes' points and says so; what a shape is called or counts is not its business.

import { html, svg } from "/dom.js";
import { KINDS, middles, moveAll, movePoint, removePoint, splitEdge } from "/shapes.js";

const STEP = 0.01;
const FINE = 0.001;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HANDLE_PX = 7;
const TOUCH_PX = 22;
const RETRY_MS = 3000;

export class Stage {
  /** @param element holder; @param changed called after a shape's points changed; @param chosen with a chosen shape */
  constructor(element, changed, chosen) {
    Object.assign(this, { element, changed, chosen });
    this.shapes = [];
    this.active = null;
    this.readOnly = false;
    this.size = { width: 16, height: 9 };
    this.image = html("img", { alt: "", draggable: false });
    this.note = html("p", { className: "note", textContent: "waiting for a picture…" });
    this.canvas = svg("svg", { class: "shapes-layer", role: "group", "aria-label": "Shapes on the picture" });
    element.replaceChildren(this.image, this.canvas, this.note);
    this.image.addEventListener("load", () => this.loaded());
    this.image.addEventListener("error", () => this.failed());
    new ResizeObserver(() => this.draw()).observe(element);
  }

  /** Show the newest picture of a camera; where there is none, try again while the editor is looked at. */
  load(camera) {
    clearTimeout(this.retry);
    this.camera = camera;
    this.image.src = `/frame/${encodeURIComponent(camera)}.jpg?at=${Date.now()}`;
  }

  loaded() {
    this.size = { width: this.image.naturalWidth, height: this.image.naturalHeight };
    this.element.style.setProperty("--shape", `${this.size.width} / ${this.size.height}`);
    this.note.hidden = true;
    this.draw();
  }

  failed() {
    this.note.hidden = false;
    this.note.textContent = "This camera has no picture now; shapes can be edited all the same.";
    this.retry = setTimeout(() => this.element.clientWidth && this.load(this.camera), RETRY_MS);
  }

  show(shapes, active, readOnly) {
    Object.assign(this, { shapes: shapes.filter(({ points }) => points.length), active, readOnly });
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const focused = this.focused();
    this.canvas.replaceChildren(...this.shapes.map((shape) => this.outline(shape, width, height)), ...this.handles(width, height));
    if (focused !== null) this.canvas.querySelector(`[data-corner="${focused}"]`)?.focus();
  }

  focused() {
    const corner = document.activeElement?.dataset?.corner;
    return this.canvas.contains(document.activeElement) && corner !== undefined ? corner : null;
  }

  outline(shape, width, height) {
    const points = shape.points.map(([x, y]) => `${x * width},${y * height}`).join(" ");
    const tag = shape.kind === "line" ? "polyline" : "polygon";
    const active = shape === this.active;
    const group = svg("g", { class: `place ${shape.kind}${active ? " active" : ""}` }, svg(tag, { points }));
    if (shape.kind === "line") group.append(this.arrow(shape, width, height), svg(tag, { points, class: "grip" }));
    const top = shape.points.reduce((best, point) => (point[1] < best[1] ? point : best));
    group.append(svg("text", { x: Math.min(top[0] * width + 8, width - 60), y: Math.max(16, top[1] * height + 18), "font-size": 13 }, shape.entry.name));
    group.addEventListener("pointerdown", (event) => this.grab(event, shape, (from, to) => moveAll(shape, [to[0] - from[0], to[1] - from[1]])));
    return group;
  }

  /** A short arrow on the side that a forward crossing goes to: right of the way from start to end. */
  arrow({ points: [[ax, ay], [bx, by]] }, width, height) {
    const [dx, dy] = [(bx - ax) * width, (by - ay) * height];
    const length = Math.hypot(dx, dy) || 1;
    const [nx, ny] = [-dy / length, dx / length];
    const [mx, my] = [((ax + bx) / 2) * width, ((ay + by) / 2) * height];
    const [tx, ty] = [mx + nx * 22, my + ny * 22];
    const [sx, sy] = [-ny * 5, nx * 5];
    return svg("path", { class: "arrow", d: `M${mx},${my}L${tx},${ty}M${tx - nx * 7 + sx},${ty - ny * 7 + sy}L${tx},${ty}L${tx - nx * 7 - sx},${ty - ny * 7 - sy}` });
  }

  handles(width, height) {
    const shape = this.active;
    if (!shape || this.readOnly) return [];
    const between = middles(shape).map(([index, x, y]) => {
      const dot = svg("g", { class: "middle" }, svg("circle", { class: "reach", cx: x * width, cy: y * height, r: TOUCH_PX * 0.7 }), svg("circle", { cx: x * width, cy: y * height, r: 4 }));
      dot.addEventListener("pointerdown", (event) => this.grow(event, shape, index));
      return dot;
    });
    const corners = shape.points.map(([x, y], index) => {
      const name = `${KINDS[shape.kind]} ${shape.entry.name}, corner ${index + 1} of ${shape.points.length}, ${Math.round(x * 100)} % from the left, ${Math.round(y * 100)} % from the top`;
      const handle = svg("g", { class: "corner", tabindex: 0, role: "button", "aria-label": name, "data-corner": index },
        svg("circle", { class: "reach", cx: x * width, cy: y * height, r: TOUCH_PX }), svg("circle", { cx: x * width, cy: y * height, r: HANDLE_PX }));
      handle.addEventListener("pointerdown", (event) => this.grab(event, shape, (_, to) => movePoint(shape, index, to), index));
      handle.addEventListener("keydown", (event) => this.key(event, shape, index));
      handle.addEventListener("dblclick", () => this.drop(shape, index));
      return handle;
    });
    return [...between, ...corners];
  }

  at(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }

  /** Follow the pointer until it is let go; `apply(from, to)` changes the shape. */
  grab(event, shape, apply, corner = null) {
    event.preventDefault();
    event.stopPropagation();
    if (shape !== this.active) {
      this.chosen(shape);
      this.active = shape;
    }
    if (corner !== null) this.canvas.querySelector(`[data-corner="${corner}"]`)?.focus();
    if (this.readOnly) return;
    let from = this.at(event);
    const follow = (moved) => {
      const to = this.at(moved);
      apply(from, to);
      from = to;
      this.draw();
      this.changed(shape);
    };
    const done = () => {
      for (const name of ["pointerup", "pointercancel"]) removeEventListener(name, done);
      removeEventListener("pointermove", follow);
      this.draw();
    };
    addEventListener("pointermove", follow);
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, done);
  }

  grow(event, shape, index) {
    const corner = splitEdge(shape, index);
    this.draw();
    this.changed(shape);
    this.grab(event, shape, (_, to) => movePoint(shape, corner, to), corner);
  }

  drop(shape, index) {
    if (!removePoint(shape, index)) return;
    this.draw();
    this.canvas.querySelector(`[data-corner="${Math.max(0, index - 1)}"]`)?.focus();
    this.changed(shape);
  }

  key(event, shape, index) {
    const arrow = ARROWS[event.key];
    if (!arrow && !["Delete", "Backspace", "+", "Insert"].includes(event.key)) return;
    event.preventDefault();
    if (arrow) {
      const step = event.shiftKey ? FINE : STEP;
      const [x, y] = shape.points[index];
      movePoint(shape, index, [x + arrow[0] * step, y + arrow[1] * step]);
    } else if (event.key === "+" || event.key === "Insert") {
      const corner = splitEdge(shape, index);
      if (corner >= 0) this.draw();
      this.canvas.querySelector(`[data-corner="${corner}"]`)?.focus();
    } else {
      this.drop(shape, index);
    }
    this.draw();
    this.changed(shape);
  }
}
