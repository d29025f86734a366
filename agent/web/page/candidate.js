// A candidate model that judges live frames beside the running one: how far it is and how far the two agree.

import { badge, html, modelName } from "/dom.js";

export const share = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

/** Roughly how long, in words. */
export function roughly(seconds) {
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

const named = ({ candidate, variant }) => `${modelName(candidate)} · ${variant}`;

/** What is left of a run, or why it ended. */
export const remaining = ({ left_s, end }) => (left_s === null || left_s === undefined ? `ended: ${end || "no reason given"}` : `about ${roughly(left_s)} left`);

/** A run in two lines and a bar: which candidate, how far, how much they agree. */
export function runLines(run) {
  const bar = html("progress", { max: Math.max(1, run.of_frames), value: run.frames });
  bar.setAttribute("aria-label", "Frames compared");
  const left = Object.entries(run.skipped).map(([reason, count]) => `${reason} ${count}`).join(", ");
  const told = [`${run.frames} of ${run.of_frames} frames`, remaining(run), left && `left out: ${left}`].filter(Boolean).join(" · ");
  return [
    html("div", { className: "line" }, badge(run.state), html("strong", { textContent: named(run) }), html("time", { textContent: `${share(run.agreement)} agree` })),
    bar,
    html("p", { className: "detail", textContent: told }),
  ];
}

/** Rows of a class, a bar and the share of its objects that both models see. */
export function classRows(classes) {
  return Object.entries(classes).map(([name, value]) => html("li", {}, html("span", { textContent: name }),
    html("progress", { max: 1, value, "aria-hidden": "true" }), html("b", { textContent: share(value) })));
}
