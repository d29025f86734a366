// Small ways to build elements without ever parsing text as HTML, to show figures, and to ask the agent.

const SVG = "http://www.w3.org/2000/svg";
const TIMEOUT_MS = 4000;

export const byId = (id) => document.getElementById(id);

/** Make an HTML element with properties and children (text or elements). */
export function html(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Make an SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const shown = new WeakMap();

/** Call `draw` only when `value` differs from what this element showed last, so that reading is not disturbed. */
export function onChange(element, value, draw) {
  const text = JSON.stringify(value);
  if (shown.get(element) === text) return;
  shown.set(element, text);
  draw();
}

/** An answer that is no success: `body` is what the agent said. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.message ?? `answer ${status}`);
    this.status = status;
    this.body = body;
  }
}

/** Ask the agent for JSON; whoever is not logged in is led to the form. */
export async function ask(path, options = {}) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(options.patience_ms ?? TIMEOUT_MS), cache: "no-store", ...options });
  if (answer.status === 401) location.assign("/login");
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

/** A colour for a class id: hues a golden angle apart, light enough for dark text on it. */
export const colourOf = (id) => `hsl(${Math.round(id * 137.508 + 145) % 360} 85% 64%)`;

export const time = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

/** The time, and the day too where it is not today. */
export function moment(ms) {
  const date = new Date(ms);
  const today = date.toDateString() === new Date().toDateString();
  return today ? time(ms) : `${date.toLocaleDateString([], { day: "numeric", month: "short" })} ${time(ms)}`;
}

export const words = (name) => name.replaceAll("_", " ");

/** `<class>/<name>/<version>` as people say it. */
export const modelName = (id) => id.split("/").slice(-2).join(" ");

const TONES = {
  committed: "good", streaming: "good", idle: "good", ok: "good", recovered: "good",
  refused: "bad", rejected: "bad", rolled_back: "bad", failed: "bad", stalled: "bad", problem: "bad", error: "bad", critical: "bad",
  opening: "warn", ended: "warn", warning: "warn", heat: "warn", throttled: "warn", latency: "warn", queue: "warn", memory: "warn",
  running: "busy", downloading: "busy", staged: "busy", verified: "busy", trial: "busy", probation: "busy",
};
export const toneOf = (name) => TONES[name] ?? "";
export const badge = (name) => html("span", { className: `badge ${toneOf(name)}`, textContent: words(name) });
export const nothing = (text) => html("li", { className: "empty", textContent: text });

/** Fill a list with rows, or with one that says why there are none. */
export const fill = (list, rows, empty) => list.replaceChildren(...(rows.length ? rows : [nothing(empty)]));

/** Fill a description list with pairs of a name and a value. */
export function fillFacts(list, facts) {
  onChange(list, facts, () => {
    list.replaceChildren(...facts.map(([name, value]) => html("div", {}, html("dt", { textContent: name }), html("dd", { textContent: value }))));
  });
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB"];
  let value = count / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
