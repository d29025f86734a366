// Whether cameras still show what the model was made for: how each stands, what changed, and figures over time.

import { Chart } from "/charts.js";
import { badge, byId, fill, html, onChange, time } from "/dom.js";

const FIGURES = {
  brightness: { title: "Brightness", unit: "grey level, median of a window" },
  sharpness: { title: "Sharpness", unit: "variance of the Laplacian" },
  objects: { title: "Objects", unit: "in a frame" },
  scores: { title: "Scores", unit: "of objects, median" },
  doubts: { title: "Doubts", unit: "boxes too unsure to be objects, in a frame" },
};
const NO_BASELINE = "Not judged: the release has no drift baseline, or no frames came yet.";

export class DriftView {
  constructor() {
    this.shown = false;
    this.points = [];
    this.charts = Object.entries(FIGURES).map(([figure, texts]) => [figure, new Chart(byId(`chart-${figure}`), texts)]);
  }

  setShown(shown) {
    this.shown = shown;
    if (shown) this.draw();
  }

  show({ snapshot, drifts }) {
    const reports = snapshot.telemetry?.drift ?? [];
    onChange(byId("standing"), reports, () => fill(byId("standing"), reports.map(standing), NO_BASELINE));
    onChange(byId("drifts"), drifts, () => fill(byId("drifts"), drifts.map(change), "Nothing since the agent started."));
  }

  /** Draw the trends of `points`, which another view fetches. */
  take(points) {
    this.points = points;
    if (this.shown) this.draw();
  }

  draw() {
    const times = this.points.map((point) => point.at_ms);
    const cameras = [...new Set(this.points.flatMap((point) => Object.keys(point.figures)))].sort();
    for (const [figure, chart] of this.charts) {
      chart.show(times, cameras.map((name, index) => ({
        name,
        tone: `tone-${(index % 6) + 1}`,
        values: this.points.map((point) => point.figures[name]?.[figure] ?? null),
      })));
    }
  }
}

const mark = (cause, state) => (cause ? html("span", { className: "badge warn", textContent: cause }) : badge(state));
const differs = ({ figure, found, usual }) => `${figure} ${found.toFixed(2)}, usually ${usual.toFixed(2)}`;

function standing({ name, state, cause, period, judged, changes }) {
  const line = html("div", { className: "line" }, mark(cause, state), html("strong", { textContent: name }));
  const told = changes.length ? changes.map(differs).join("; ") : `${judged} windows judged${period ? `, now ${period}` : ""}`;
  return html("li", {}, line, html("p", { className: "detail", textContent: told }));
}

function change({ at_ms, report }) {
  const line = html("div", { className: "line" }, mark(report.cause, report.state), html("strong", { textContent: report.name }), html("time", { textContent: time(at_ms) }));
  return html("li", {}, line, html("p", { className: "detail", textContent: report.changes.map(differs).join("; ") }));
}
