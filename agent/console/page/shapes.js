// Zones, lines, masks and speeds as the editor has them: one list of shapes, each with its points; a speed, which lies
// between two lines, has none of its own. Pure; no drawing here.

export const KINDS = { zone: "Zone", line: "Line", mask: "Mask", speed: "Speed" };
const LEAST = { zone: 3, line: 2, mask: 3 };
const MOST = { zone: 64, line: 2, mask: 64 };
const clamp = (value) => Math.round(Math.min(1, Math.max(0, value)) * 10_000) / 10_000;

/** The shapes of a camera's places; what the editor does not show of an entry is kept as it is. */
export function shapesOf({ zones, lines, masks, speeds }) {
  return [
    ...zones.map((entry) => ({ kind: "zone", entry, points: entry.polygon.map((point) => [...point]) })),
    ...lines.map((entry) => ({ kind: "line", entry, points: [[...entry.start], [...entry.end]] })),
    ...masks.map((entry) => ({ kind: "mask", entry, points: entry.polygon.map((point) => [...point]) })),
    ...speeds.map((entry) => ({ kind: "speed", entry, points: [] })),
  ];
}

/** The places that these shapes mean, in the form of the configuration. */
export function placesOf(shapes) {
  const of = (kind) => shapes.filter((shape) => shape.kind === kind);
  return {
    zones: of("zone").map(({ entry, points }) => ({ ...entry, polygon: points })),
    lines: of("line").map(({ entry, points }) => ({ ...entry, start: points[0], end: points[1] })),
    masks: of("mask").map(({ entry, points }) => ({ ...entry, polygon: points })),
    speeds: of("speed").map(({ entry }) => entry),
  };
}

/** The names of the lines, in their order. */
export const lineNames = (shapes) => shapes.filter(({ kind }) => kind === "line").map(({ entry }) => entry.name);

/** Give a shape another name; the speeds along a line follow it. */
export function rename(shapes, shape, name) {
  const before = shape.entry.name;
  shape.entry = { ...shape.entry, name };
  if (shape.kind !== "line" || lineNames(shapes).includes(before)) return;
  for (const speed of shapes.filter(({ kind }) => kind === "speed")) {
    for (const side of ["first", "second"]) if (speed.entry[side] === before) speed.entry = { ...speed.entry, [side]: name };
  }
}

/** Where in the configuration a shape stands, as the agent's faults name it: `zones[1]`. */
export function placeOf(shapes, shape) {
  const index = shapes.filter(({ kind }) => kind === shape.kind).indexOf(shape);
  return `${shape.kind}s[${index}]`;
}

/** A new shape in the middle of the picture, with a name that is not taken. */
export function newShape(kind, shapes) {
  const taken = new Set(shapes.map(({ entry }) => entry.name));
  let number = 1;
  while (taken.has(`${kind}-${number}`)) number += 1;
  if (kind === "speed") {
    const [first = "", second = ""] = lineNames(shapes);
    return { kind, entry: { name: `${kind}-${number}`, first, second, distance_m: 1 }, points: [] };
  }
  const nudge = 0.04 * (shapes.length % 5);
  const square = [[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]].map(([x, y]) => [clamp(x + nudge), clamp(y + nudge)]);
  const points = kind === "line" ? [square[3], square[1]] : square;
  return { kind, entry: { name: `${kind}-${number}` }, points };
}

export function movePoint(shape, index, [x, y]) {
  shape.points[index] = [clamp(x), clamp(y)];
}

export function moveAll(shape, [dx, dy]) {
  const [xs, ys] = [0, 1].map((axis) => shape.points.map((point) => point[axis]));
  const x = Math.min(1 - Math.max(...xs), Math.max(-Math.min(...xs), dx));
  const y = Math.min(1 - Math.max(...ys), Math.max(-Math.min(...ys), dy));
  shape.points = shape.points.map((point) => [clamp(point[0] + x), clamp(point[1] + y)]);
}

/** Put a corner in the middle of the edge behind corner `index`; return its number, or -1 where no more fit. */
export function splitEdge(shape, index) {
  if (shape.points.length >= MOST[shape.kind]) return -1;
  const [here, there] = [shape.points[index], shape.points[(index + 1) % shape.points.length]];
  shape.points.splice(index + 1, 0, [clamp((here[0] + there[0]) / 2), clamp((here[1] + there[1]) / 2)]);
  return index + 1;
}

/** Take a corner away, unless the shape needs it. */
export function removePoint(shape, index) {
  if (shape.points.length <= LEAST[shape.kind]) return false;
  shape.points.splice(index, 1);
  return true;
}

/** The middles of the edges, where a corner can be added: [corner before, x, y]. */
export function middles(shape) {
  if (shape.kind === "line" || shape.points.length >= MOST[shape.kind]) return [];
  return shape.points.map((here, index) => {
    const there = shape.points[(index + 1) % shape.points.length];
    return [index, (here[0] + there[0]) / 2, (here[1] + there[1]) / 2];
  });
}
