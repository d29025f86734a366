// One device: what it said last, its cameras, its place in roll-outs, and which model keys it asked for.

import { classRows, runLines } from "/candidate.js";
import { ask, badge, byId, fill, fillFacts, html, moment } from "/dom.js";
import { ago, number } from "/figures.js";
import { addressed } from "/frame.js";

export class DeviceView {
  #id = "";

  setShown(shown) {
    const [id] = addressed();
    this.#id = shown ? (id ?? "") : "";
    if (!this.#id) return;
    byId("device-title").textContent = this.#id;
    this.refresh().catch(() => {}); // the page's loop asks again, and says what is wrong
  }

  async refresh() {
    const id = this.#id;
    if (!id) return;
    const device = await ask(`/api/device/${encodeURIComponent(id)}`);
    if (id === this.#id) draw(device);
  }
}

function draw(device) {
  const { row, telemetry, rollouts, grants } = device;
  const problem = byId("device-problem");
  problem.hidden = !row.problem;
  problem.textContent = row.problem;
  fillFacts(byId("device-facts"), facts(device));
  fill(byId("device-cameras"), (telemetry?.cameras ?? []).map(camera), "No measurements heard.");
  const run = telemetry?.shadow ?? null;
  byId("device-shadow").hidden = run === null;
  if (run) {
    byId("device-run").replaceChildren(...runLines(run));
    fill(byId("device-classes"), classRows(run.classes), "No object yet.");
  }
  fill(byId("device-rollouts"), rollouts.map(place), "Part of none.");
  fill(byId("device-grants"), grants.map(grant), "It asked for none.");
}

function facts({ row, state, enrolled_ms, certificate, ...device }) {
  const said = [
    ["state", row.condition], ["last heard", ago(row.heard_ms)],
    ["release", row.release || "–"], ["variant", state?.variant ?? "–"], ["update", row.phase || "–"],
    ["frames a second", number(row.fps)], ["temperature °C", number(row.temperature_c)], ["rung", row.rung || "–"],
    ["drift", row.drift || "none"], ["beside its like", row.slow || "not slow"], ["agent", row.agent || "–"], ["profile", state?.profile || "–"],
    ["class", device.class], ["groups", row.groups.join(", ") || "none"],
    ["enrolled", enrolled_ms ? moment(enrolled_ms) : "–"], ["certificate", certificate.slice(0, 16)],
  ];
  const last = state?.last_update;
  return last ? [...said, ["last update", `${last.release}: ${last.outcome} ${last.code}`]] : said;
}

function entry(title, mark, detail, time = "") {
  const line = html("div", { className: "line" }, html("strong", { textContent: title }), mark, html("time", { textContent: time }));
  return html("li", {}, line, html("span", { className: "detail", textContent: detail }));
}

const camera = (one) => entry(one.name, badge(one.status), [`${number(one.fps)} fps`, one.problem].filter(Boolean).join(" · "));
const place = (one) => entry(one.rollout, badge(one.step), [`wave ${one.wave}`, one.code].filter(Boolean).join(" · "));
const grant = (one) => entry(one.release, badge(one.status === 200 ? "ok" : "refused"), one.reason, moment(one.at_ms));
