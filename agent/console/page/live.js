// Live view: one stream for all cameras; every picture is drawn together with the boxes found in it.

import { byId, colourOf, html, svg } from "/dom.js";

const RETRY_MS = 3000;
const SMALL_PX = 480;
const ruler = document.createElement("canvas").getContext("2d");

/** Width of a box's label in CSS pixels at `size` CSS pixels. */
function widthOf(text, size) {
  ruler.font = `600 ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

class Tile {
  constructor(name) {
    this.name = name;
    this.canvas = html("canvas", { width: 640, height: 360 });
    this.boxes = svg("svg", { class: "boxes", viewBox: "0 0 640 360", role: "img" });
    this.note = html("p", { className: "note", textContent: "waiting for a picture…" });
    this.rate = html("span", { className: "rate" });
    this.element = html(
      "figure",
      { className: "tile" },
      html("div", { className: "picture" }, this.canvas, this.boxes, this.note),
      html("figcaption", {}, html("strong", { textContent: name }), this.rate),
    );
    this.busy = false;
  }

  problem(text) {
    this.note.textContent = text;
    this.note.hidden = false;
    this.boxes.replaceChildren();
    this.element.classList.add("dim");
  }

  async frame(shown, labels) {
    if (this.busy) return; // decoding is slower than the stream: skip to a newer picture
    this.busy = true;
    try {
      const jpeg = Uint8Array.from(atob(shown.jpeg), (character) => character.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
      this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      this.drawBoxes(shown, labels);
      this.note.hidden = true;
      this.element.classList.remove("dim");
    } catch (error) {
      this.problem("the picture cannot be decoded");
    } finally {
      this.busy = false;
    }
  }

  drawBoxes(shown, labels) {
    const unit = shown.width / Math.max(1, this.boxes.clientWidth); // picture pixels per CSS pixel
    const labelPx = this.boxes.clientWidth < SMALL_PX ? 10 : 12;
    const draw = (box) => drawBox(box, labels, shown.width, unit, labelPx);
    this.boxes.setAttribute("viewBox", `0 0 ${shown.width} ${shown.height}`);
    this.boxes.setAttribute("aria-label", `${shown.boxes.length} objects on ${this.name}`);
    this.boxes.replaceChildren(...shown.boxes.map(draw));
  }
}

/** Draw `[class, score, x_min, y_min, x_max, y_max, track]`. */
function drawBox([label, score, left, top, right, bottom, track], labels, width, unit, labelPx) {
  const colour = colourOf(label);
  const name = labels[label] ?? `class ${label}`;
  const text = `${name} ${Math.round(score * 100)}%${track ? ` #${track}` : ""}`;
  const size = labelPx * unit;
  const plateWidth = widthOf(text, labelPx) * unit + size * 0.9;
  const plateHeight = size * 1.5;
  const plateTop = top >= plateHeight ? top - plateHeight : top;
  const plateLeft = Math.max(0, Math.min(left, width - plateWidth));
  return svg(
    "g",
    { "data-label": name, "data-track": track },
    svg("rect", {
      class: "box", x: left, y: top, width: right - left, height: bottom - top, rx: 3 * unit, stroke: colour,
    }),
    svg("rect", {
      x: plateLeft, y: plateTop, width: plateWidth, height: plateHeight, rx: 3 * unit, fill: colour,
    }),
    svg("text", { x: plateLeft + size * 0.45, y: plateTop + size * 1.08, "font-size": size }, text),
  );
}

export class LiveView {
  constructor() {
    this.tiles = new Map();
    this.labels = [];
    this.source = null;
    this.retry = 0;
    document.addEventListener("visibilitychange", () => this.connect());
  }

  /** Show exactly these cameras. */
  setCameras(names) {
    if (names.join() === [...this.tiles.keys()].join()) return;
    this.tiles = new Map(names.map((name) => [name, new Tile(name)]));
    const tiles = [...this.tiles.values()].map((tile) => tile.element);
    const nothing = html("p", { className: "empty", textContent: "No camera is configured." });
    byId("live").replaceChildren(...(tiles.length ? tiles : [nothing]));
    this.connect();
  }

  /** Open the stream, or close it while nobody can see it. */
  connect() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
    if (document.hidden || !this.tiles.size) return;
    this.source = new EventSource(`/stream/${[...this.tiles.keys()].join(",")}`);
    this.source.addEventListener("frame", (event) => {
      const shown = JSON.parse(event.data);
      this.tiles.get(shown.camera)?.frame(shown, this.labels);
    });
    this.source.addEventListener("problem", (event) => {
      const { camera, message } = JSON.parse(event.data);
      this.tiles.get(camera)?.problem(message);
    });
    this.source.onerror = () => this.lost();
  }

  /** A stream that broke opens again by itself; one that was refused (too many viewers) needs a new try. */
  lost() {
    const refused = this.source?.readyState === EventSource.CLOSED;
    const text = refused ? "The live view was refused; perhaps too many are open." : "The live view was interrupted.";
    for (const tile of this.tiles.values()) tile.problem(`${text} Trying again…`);
    if (refused) this.retry = setTimeout(() => this.connect(), RETRY_MS);
  }

  /** Say each camera's rate under its picture. */
  setReports(reports) {
    for (const report of reports) {
      const tile = this.tiles.get(report.name);
      if (tile) tile.rate.textContent = `${report.status} · ${report.fps.toFixed(1)} fps`;
    }
  }
}
