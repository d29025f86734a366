// What is drawn over a picture: boxes with their labels, the way each object came, zones, lines and masks.
// Everything is SVG in the pixels of the camera's picture, so it scales with it.

import { colourOf, svg } from "/dom.js";

const SMALL_PX = 480;
const TRAIL = 24;
const TRAIL_MS = 1500;
const ruler = document.createElement("canvas").getContext("2d");

/** Width of a box's label in CSS pixels at `size` CSS pixels. */
function widthOf(text, size) {
  ruler.font = `600 ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

/** The last positions of every tracked object of one camera. */
export class Trails {
  constructor() {
    this.tracks = new Map();
  }

  /** Take the boxes of a new picture; objects that were not seen for a while are forgotten. */
  add(boxes, now) {
    for (const [label, , left, , right, bottom, track] of boxes) {
      if (!track) continue;
      const trail = this.tracks.get(track) ?? { label, points: [], seen: 0 };
      trail.points.push([(left + right) / 2, bottom]);
      if (trail.points.length > TRAIL) trail.points.shift();
      trail.seen = now;
      this.tracks.set(track, trail);
    }
    for (const [track, trail] of this.tracks) if (now - trail.seen > TRAIL_MS) this.tracks.delete(track);
  }

  draw() {
    return [...this.tracks.values()].filter(({ points }) => points.length > 1).map(({ label, points }) =>
      svg("polyline", { class: "trail", points: points.join(" "), stroke: colourOf(label) }));
  }
}

/** Draw `[class, score, x_min, y_min, x_max, y_max, track]`; `scale` knows the picture and its size on the screen. */
export function drawBox([label, score, left, top, right, bottom, track], labels, scale) {
  const { unit, width } = scale;
  const colour = colourOf(label);
  const name = labels[label] ?? `class ${label}`;
  const text = `${name} ${Math.round(score * 100)}%${track ? ` #${track}` : ""}`;
  const px = scale.small ? 10 : 12;
  const size = px * unit;
  const plateWidth = widthOf(text, px) * unit + size * 0.9;
  const plateHeight = size * 1.5;
  const plateTop = top >= plateHeight ? top - plateHeight : top;
  const plateLeft = Math.max(0, Math.min(left, width - plateWidth));
  return svg(
    "g",
    { "data-label": name, "data-track": track },
    svg("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top, rx: 3 * unit, stroke: colour }),
    svg("rect", { x: plateLeft, y: plateTop, width: plateWidth, height: plateHeight, rx: 3 * unit, fill: colour }),
    svg("text", { x: plateLeft + size * 0.45, y: plateTop + size * 1.08, "font-size": size }, text),
  );
}

/** How pictures of `width` x `height` stand on the screen in `element`. */
export function scaleOf(element, width, height) {
  const shown = Math.max(1, element.clientWidth);
  return { width, height, unit: width / shown, small: shown < SMALL_PX };
}

const placed = (points, { width, height }) => points.map(([x, y]) => `${(x * width).toFixed(1)},${(y * height).toFixed(1)}`).join(" ");

/** Zones, lines and masks of a camera; `reports` says how many objects are in a zone or crossed a line. */
export function drawPlaces(places, reports, scale) {
  const counts = new Map((reports?.zones ?? []).map((zone) => [zone.name, Object.values(zone.occupancy).reduce((a, b) => a + b, 0)]));
  const crossings = new Map((reports?.lines ?? []).map((line) => [line.name, `${line.forward} → ${line.backward} ←`]));
  return [
    ...places.masks.map((mask) => svg("polygon", { class: "place mask", points: placed(mask.polygon, scale) })),
    ...places.zones.map((zone) => named("zone", zone.polygon, `${zone.name}${counts.has(zone.name) ? ` · ${counts.get(zone.name)}` : ""}`, scale, counts.get(zone.name) > 0)),
    ...places.lines.map((line) => named("line", [line.start, line.end], `${line.name}${crossings.has(line.name) ? ` · ${crossings.get(line.name)}` : ""}`, scale, false)),
  ];
}

function named(kind, points, text, scale, busy) {
  const { unit, width, height } = scale;
  const size = (scale.small ? 10 : 12) * unit;
  const top = points.reduce((best, point) => (point[1] < best[1] ? point : best));
  const x = Math.min(top[0] * width + 4 * unit, width - (widthOf(text, size / unit) + 8) * unit);
  const y = Math.max(size * 1.3, Math.min(top[1] * height + size * 1.3, height - size * 0.4));
  const shape = kind === "line" ? "polyline" : "polygon";
  return svg(
    "g",
    { class: `place ${kind}${busy ? " busy" : ""}`, "data-place": text },
    svg(shape, { points: placed(points, scale) }),
    svg("text", { x: Math.max(4 * unit, x), y, "font-size": size }, text),
  );
}
