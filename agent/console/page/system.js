// The device itself: cameras, what the doctor finds, facts, and the log.

import { ask, badge, byId, fill, fillFacts, html, moment, onChange, time, toneOf } from "/dom.js";

const KEPT_LINES = 300;
const EXAMINE_MS = 200_000;

export class SystemView {
  constructor() {
    this.shown = false;
    this.number = 0;
    byId("log-level").addEventListener("change", () => this.restart());
    byId("examine").addEventListener("click", () => this.examine());
  }

  setShown(shown) {
    this.shown = shown;
  }

  show({ snapshot, cameras }) {
    const reports = new Map(snapshot.cameras.map((report) => [report.name, report]));
    onChange(byId("cameras"), [cameras, snapshot.cameras], () => fill(byId("cameras"), cameras.map((name) => cameraRow(name, reports.get(name))), "No camera is configured."));
    fillFacts(byId("facts"), facts(snapshot));
  }

  async refresh() {
    if (!this.shown) return;
    const { number, lines } = await ask(`/api/log?after=${this.number}&level=${byId("log-level").value}`);
    const list = byId("log");
    if (number < this.number) list.replaceChildren();
    this.number = number;
    if (!lines.length) return;
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    list.append(...lines.slice(-KEPT_LINES).map(logLine));
    while (list.children.length > KEPT_LINES) list.firstChild.remove();
    if (follows) list.scrollTop = list.scrollHeight;
  }

  restart() {
    this.number = 0;
    byId("log").replaceChildren();
  }

  async examine() {
    const button = byId("examine");
    button.disabled = true;
    button.textContent = "Examining…";
    try {
      drawDoctor(await ask("/api/doctor", { patience_ms: EXAMINE_MS }));
    } catch (error) {
      byId("doctor").replaceChildren(html("p", { className: "problem", textContent: error.message }));
    } finally {
      button.disabled = false;
      button.textContent = "Examine again";
    }
  }
}

function drawDoctor({ findings, at_ms, verdict }) {
  const count = findings.length;
  const bad = findings.filter(({ level }) => level !== "ok");
  const list = html("ul", { className: "rows" }, ...bad.map(findingRow));
  const good = html("details", {}, html("summary", { textContent: `${count - bad.length} of ${count} checks are good` }),
    html("ul", { className: "rows" }, ...findings.filter(({ level }) => level === "ok").map(findingRow)));
  byId("doctor").replaceChildren(html("p", { className: "line" }, badge(verdict), html("time", { textContent: moment(at_ms) })), list, good);
}

function findingRow({ check, level, what, why, fix }) {
  const row = html("li", {}, html("div", { className: "line" }, badge(level), html("strong", { textContent: check })), html("p", { className: "detail", textContent: what }));
  if (why) row.append(html("p", { className: "detail", textContent: why }));
  if (fix) row.append(html("p", { className: "fix", textContent: fix }));
  return row;
}

function cameraRow(name, report) {
  const row = html("li", {}, html("div", { className: "line" }, badge(report?.status ?? "unknown"), html("strong", { textContent: name })));
  if (!report) return row;
  row.firstChild.append(html("time", { textContent: `${report.fps.toFixed(1)} fps` }));
  const gate = report.gate ? ` · gate ${report.gate}, ${report.gated} held back` : "";
  const counts = `${report.processed} processed · ${report.dropped} dropped${gate} · ${report.reconnects} reconnects`;
  if (report.problem) row.append(html("p", { className: "detail bad-text", textContent: report.problem }));
  row.append(html("p", { className: "detail", textContent: counts }));
  return row;
}

function facts({ state, telemetry, link }) {
  return [
    ["broker", link || "–"],
    ["profile", state.profile || "–"],
    ["agent", state.agent || "–"],
    ["temperature", telemetry?.temperature_c ? `${telemetry.temperature_c.toFixed(1)} °C` : "–"],
    ["memory", telemetry ? `${telemetry.control_pss_mb.toFixed(0)} + ${telemetry.worker_pss_mb.toFixed(0)} MB` : "–"],
    ["waiting messages", telemetry ? `${telemetry.outbox_messages}` : "–"],
    ["dropped messages", telemetry ? `${telemetry.outbox_dropped}` : "–"],
    ["broker reconnects", telemetry ? `${telemetry.link_reconnects}` : "–"],
    ["worker restarts", telemetry ? `${telemetry.worker_restarts}` : "–"],
    ["groups", state.groups.join(", ") || "–"],
    ["audit head", state.audit_head.slice(0, 12) || "–"],
  ];
}

function logLine({ at_ms, level, source, message }) {
  return html("li", { className: toneOf(level) }, html("time", { textContent: time(at_ms) }), html("b", { textContent: level }),
    html("span", { className: "detail", textContent: source.replace(/^agent\./, "") }), html("span", { textContent: message }));
}
