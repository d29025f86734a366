// Live view: one stream for all cameras; every picture is drawn together with the boxes found in it. The stream is
// open only while the live view can be seen, because pictures are encoded only for those who look.

import { badge, byId, html, svg } from "/dom.js";
import { drawBox, drawPlaces, scaleOf, Trails } from "/overlay.js";

const RETRY_MS = 3000;
const LAYERS = ["boxes", "tracks", "zones"];
const NO_PLACES = { zones: [], lines: [], masks: [] };

class Tile {
  constructor(name, view) {
    this.name = name;
    this.view = view;
    this.trails = new Trails();
    this.report = null;
    this.last = null;
    this.canvas = html("canvas", { width: 640, height: 360 });
    this.boxes = svg("svg", { class: "boxes", viewBox: "0 0 640 360", role: "img" });
    this.note = html("p", { className: "note", textContent: "waiting for a picture…" });
    this.status = html("span", { className: "badge", textContent: "unknown" });
    this.rate = html("span", { className: "rate" });
    const large = html("button", { type: "button", className: "quiet", title: "Full screen", ariaLabel: `${name} on the full screen` },
      svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5" })));
    large.addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : this.element.requestFullscreen()));
    this.element = html(
      "figure",
      { className: "tile" },
      html("div", { className: "picture" }, this.canvas, this.boxes, this.note),
      html("figcaption", {}, html("strong", { textContent: name }), this.status, this.rate, large),
    );
    this.busy = false;
  }

  problem(text) {
    this.note.textContent = text;
    this.note.hidden = false;
    this.boxes.replaceChildren();
    this.element.classList.add("dim");
  }

  async frame(shown) {
    if (this.busy) return; // decoding is slower than the stream: skip to a newer picture
    this.busy = true;
    try {
      const jpeg = Uint8Array.from(atob(shown.jpeg), (character) => character.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
      this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      this.trails.add(shown.boxes, performance.now());
      this.last = shown;
      this.draw();
      this.note.hidden = true;
      this.element.classList.remove("dim");
    } catch (error) {
      this.problem("the picture cannot be decoded");
    } finally {
      this.busy = false;
    }
  }

  draw() {
    if (!this.last) return;
    const { width, height, boxes } = this.last;
    const { layers, labels, places } = this.view;
    const scale = scaleOf(this.boxes, width, height);
    this.boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.boxes.setAttribute("aria-label", `${boxes.length} objects on ${this.name}`);
    this.boxes.replaceChildren(
      ...(layers.has("zones") ? drawPlaces(places[this.name] ?? NO_PLACES, this.report, scale) : []),
      ...(layers.has("tracks") ? this.trails.draw() : []),
      ...(layers.has("boxes") ? boxes.map((box) => drawBox(box, labels, scale)) : []),
    );
  }

  setReport(report) {
    this.report = report;
    const status = badge(report.status);
    this.status.replaceWith(status);
    this.status = status;
    this.rate.textContent = `${report.fps.toFixed(1)} fps`;
  }
}

export class LiveView {
  constructor() {
    this.tiles = new Map();
    this.labels = [];
    this.places = {};
    this.layers = new Set(LAYERS);
    this.source = null;
    this.retry = 0;
    this.shown = false;
    document.addEventListener("visibilitychange", () => this.connect());
    for (const layer of LAYERS) {
      const button = byId(`layer-${layer}`);
      button.addEventListener("click", () => this.toggle(layer, button));
    }
  }

  toggle(layer, button) {
    if (!this.layers.delete(layer)) this.layers.add(layer);
    button.setAttribute("aria-pressed", String(this.layers.has(layer)));
    for (const tile of this.tiles.values()) tile.draw();
  }

  setShown(shown) {
    if (this.shown === shown) return;
    this.shown = shown;
    this.connect();
  }

  setPlaces(places) {
    this.places = places;
    for (const tile of this.tiles.values()) tile.draw();
  }

  show({ cameras, snapshot }) {
    this.labels = snapshot.labels;
    this.setCameras(cameras);
    for (const report of snapshot.cameras) this.tiles.get(report.name)?.setReport(report);
  }

  /** Show exactly these cameras. */
  setCameras(names) {
    if (this.tiles.size && names.join() === [...this.tiles.keys()].join()) return;
    this.tiles = new Map(names.map((name) => [name, new Tile(name, this)]));
    const tiles = [...this.tiles.values()].map((tile) => tile.element);
    const nothing = html("p", { className: "empty", textContent: "No camera is configured." });
    byId("tiles").replaceChildren(...(tiles.length ? tiles : [nothing]));
    byId("tiles").classList.toggle("single", tiles.length === 1);
    this.connect();
  }

  /** Open the stream, or close it while nobody can see it. */
  connect() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
    if (document.hidden || !this.shown || !this.tiles.size) return;
    this.source = new EventSource(`/stream/${[...this.tiles.keys()].join(",")}`);
    this.source.addEventListener("frame", (event) => {
      const shown = JSON.parse(event.data);
      this.tiles.get(shown.camera)?.frame(shown);
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
}
