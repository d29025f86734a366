// How long each stage of a frame takes, how warm the board is and which rung the governor holds: over time and now.

import { Chart } from "/charts.js";
import { ask, badge, byId, fill, html, onChange, time } from "/dom.js";

const STAGES = ["capture", "queue", "pre", "infer", "post", "publish"];
const KEPT = 720;

export class SpeedView {
  constructor() {
    this.number = 0;
    this.points = [];
    this.shown = false;
    this.stages = new Chart(byId("chart-stages"), { title: "Time per frame, by stage", unit: "ms, p50, one on the other", stacked: true });
    this.fps = new Chart(byId("chart-fps"), { title: "Frames", unit: "per second" });
    this.heat = new Chart(byId("chart-heat"), { title: "Temperature", unit: "°C", empty: "There is no temperature sensor." });
    this.rungs = new Chart(byId("chart-rung"), { title: "Rung", unit: "0 is the best", whole: true, limits: () => [0, Math.max(1, ...this.points.map((point) => point.rungs - 1))] });
  }

  setShown(shown) {
    this.shown = shown;
    if (shown) this.draw();
  }

  /** Fetch what is new. */
  async refresh() {
    const { number, points } = await ask(`/api/history?after=${this.number}`);
    if (number < this.number) this.points = [];
    this.number = number;
    this.points.push(...points);
    this.points = this.points.slice(-KEPT);
    if (points.length && this.shown) this.draw();
  }

  draw() {
    const { points } = this;
    const times = points.map((point) => point.at_ms);
    const named = STAGES.filter((name) => points.some((point) => name in point.stages));
    this.stages.show(times, named.map((name, index) => ({ name, tone: `tone-${index + 1}`, values: points.map((point) => point.stages[name]?.[0] ?? null) })));
    this.fps.show(times, [{ name: "all cameras", tone: "tone-4", values: points.map((point) => point.fps) }]);
    this.heat.show(times, [{ name: "hottest sensor", tone: "tone-6", values: points.map((point) => point.temperature_c) }]);
    this.rungs.show(times, [{ name: points.at(-1)?.rung_name || "none", tone: "tone-2", values: points.map((point) => point.rung) }]);
  }

  show({ snapshot, moves }) {
    this.drawLatency(snapshot.telemetry?.stages ?? {});
    const report = snapshot.telemetry?.governor ?? null;
    const place = report ? ` (${report.index + 1} of ${report.rungs})` : "";
    byId("rung").textContent = snapshot.state.rung ? `${snapshot.state.rung}${place}` : "–";
    byId("pace").textContent = snapshot.state.slow;
    byId("pace").hidden = !snapshot.state.slow;
    onChange(byId("moves"), moves, () => fill(byId("moves"), moves.map(move), "All limits kept since the agent started."));
  }

  drawLatency(stages) {
    const body = byId("latency").tBodies[0];
    onChange(body, stages, () => {
      const names = [...STAGES.filter((name) => name in stages), ...Object.keys(stages).filter((name) => !STAGES.includes(name))];
      const longest = Math.max(0.001, ...names.map((name) => stages[name].p95));
      body.replaceChildren(...names.map((name) => stageRow(name, stages[name], longest)));
    });
  }
}

function stageRow(name, { p50, p95, p99 }, longest) {
  const bar = html("div", { className: "bar" }, html("i", { className: "tail" }), html("i", {}));
  bar.children[0].style.width = `${(100 * p95) / longest}%`;
  bar.children[1].style.width = `${(100 * p50) / longest}%`;
  const title = html("th", { scope: "row", textContent: name });
  const numbers = [p50, p95, p99].map((value) => html("td", { textContent: value.toFixed(value < 10 ? 2 : 1) }));
  return html("tr", {}, title, html("td", { className: "wide" }, bar), ...numbers);
}

function move({ at_ms, rung, cause, reason }) {
  const line = html("div", { className: "line" }, badge(cause), html("strong", { textContent: rung }), html("time", { textContent: time(at_ms) }));
  return html("li", {}, line, html("p", { className: "detail", textContent: reason }));
}
