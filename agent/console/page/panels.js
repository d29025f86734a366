// The panels: pure drawing from the status document.

import { byId, bytes, colourOf, duration, html, onChange, svg, time } from "/dom.js";

const STEPS = {
  downloading: "fetch", staged: "staged", verified: "verified", trial: "trial", probation: "probation", committed: "kept",
};
const STAGES = ["capture", "queue", "pre", "infer", "post", "publish"];
const HISTORY = 90;
const MAX_EVENTS = 40;
const TONES = {
  committed: "good", streaming: "good", idle: "good",
  refused: "bad", rejected: "bad", rolled_back: "bad", failed: "bad", stalled: "bad",
  opening: "warn", ended: "warn", downloading: "busy", staged: "busy", verified: "busy", trial: "busy",
  probation: "busy", recovered: "good", heat: "warn", throttled: "warn", latency: "warn", queue: "warn", memory: "warn",
};

const words = (name) => name.replaceAll("_", " ");
/** `<class>/<name>/<version>` as people say it. */
const modelName = (id) => id.split("/").slice(-2).join(" ");
const badge = (name) => html("span", { className: `badge ${TONES[name] ?? ""}`, textContent: words(name) });
const nothing = (text) => html("li", { className: "empty", textContent: text });

function chip(id, tone, text) {
  const element = byId(id);
  element.className = `chip ${tone}`;
  element.textContent = text;
}

export function drawHeader({ snapshot, healthy }) {
  const { state, telemetry } = snapshot;
  byId("device").textContent = state.device;
  document.title = `${state.device} · Vigil`;
  const model = state.release ? modelName(state.release) : "no model loaded";
  byId("model").textContent = state.variant ? `${model} · ${state.variant}` : model;
  chip("phase", TONES[state.phase] ?? "", words(state.phase));
  chip("link", snapshot.link_connected ? "good" : "bad", snapshot.link_connected ? "broker connected" : "broker offline");
  chip("worker", healthy ? "good" : "bad", healthy ? "vision running" : "vision stopped");
  chip("fps", "plain", telemetry ? `${telemetry.fps.toFixed(1)} fps` : "– fps");
}

export function drawUpdate({ snapshot, updates }) {
  const { phase, progress, problem } = snapshot.state;
  onChange(byId("steps"), phase, () => {
    const reached = Object.keys(STEPS).indexOf(phase);
    byId("steps").replaceChildren(
      ...Object.values(STEPS).map((step, index) => {
        const place = index < reached ? "done" : index === reached ? "now" : "";
        const item = html("li", { className: place, textContent: step });
        if (place === "now") item.setAttribute("aria-current", "step");
        return item;
      }),
    );
  });
  onChange(byId("progress"), [progress, problem], () => {
    byId("progress").replaceChildren(...(progress ? [transfer(progress)] : []), ...(problem ? [warning(problem)] : []));
  });
  onChange(byId("outcomes"), updates, () => {
    const rows = updates.map(outcome);
    byId("outcomes").replaceChildren(...(rows.length ? rows : [nothing("No update since the agent started.")]));
  });
}

const warning = (text) => html("p", { className: "problem", textContent: text });

function transfer({ file, done, total, waiting }) {
  const bar = html("progress", { max: Math.max(1, total), value: done });
  bar.setAttribute("aria-label", `Transfer of ${file}`);
  return html("div", { className: "transfer" }, bar, html("span", { textContent: `${bytes(done)} of ${bytes(total)}${waiting ? ` · ${waiting}` : ""}` }));
}

function outcome(report) {
  const gap = report.swap_gap_ms === null ? "" : ` · swap gap ${report.swap_gap_ms.toFixed(0)} ms`;
  const row = html(
    "li",
    {},
    html("div", { className: "line" }, badge(report.outcome), html("strong", { textContent: modelName(report.release) }),
      html("time", { textContent: time(report.at_ms) })),
  );
  const reason = [report.reason, report.code && `[${report.code}]`].filter(Boolean).join(" ") + gap;
  if (reason) row.append(html("p", { className: "detail", textContent: reason.replace(/^ · /, "") }));
  return row;
}

export function drawLatency({ snapshot }) {
  const stages = snapshot.telemetry?.stages ?? {};
  const body = byId("latency").tBodies[0];
  onChange(body, stages, () => {
    const names = [...STAGES.filter((name) => name in stages), ...Object.keys(stages).filter((name) => !STAGES.includes(name))];
    const longest = Math.max(0.001, ...names.map((name) => stages[name].p95));
    body.replaceChildren(...names.map((name) => stageRow(name, stages[name], longest)));
  });
}

function stageRow(name, { p50, p95, p99 }, longest) {
  const bar = html("div", { className: "bar" }, html("i", { className: "tail" }), html("i", {}));
  bar.children[0].style.width = `${(100 * p95) / longest}%`;
  bar.children[1].style.width = `${(100 * p50) / longest}%`;
  const title = html("th", { scope: "row", textContent: name });
  const numbers = [p50, p95, p99].map((value) => html("td", { textContent: value.toFixed(value < 10 ? 2 : 1) }));
  return html("tr", {}, title, html("td", { className: "wide" }, bar), ...numbers);
}

const history = [];

/** Keep the frame rate of the last minutes and draw it; one point per status document. */
export function drawHistory({ snapshot }) {
  const fps = snapshot.cameras.reduce((sum, camera) => sum + camera.fps, 0);
  history.push(fps);
  if (history.length > HISTORY) history.shift();
  const top = Math.max(1, ...history) * 1.15;
  const step = 240 / (HISTORY - 1);
  const start = 240 - (history.length - 1) * step;
  const points = history.map((value, index) => `${(start + index * step).toFixed(1)},${(46 - (44 * value) / top).toFixed(1)}`);
  const line = points.join(" ");
  const picture = svg(
    "svg",
    { viewBox: "0 0 240 48", preserveAspectRatio: "none", role: "img", "aria-label": `Frame rate, now ${fps.toFixed(1)}` },
    svg("polygon", { points: `${start.toFixed(1)},48 ${line} 240,48` }),
    svg("polyline", { points: line }),
  );
  const text = html("span", {}, "frames per second ", html("strong", { textContent: fps.toFixed(1) }));
  byId("history").replaceChildren(text, picture);
}

export function drawCameras({ snapshot, cameras }) {
  const reports = new Map(snapshot.cameras.map((report) => [report.name, report]));
  onChange(byId("cameras"), [cameras, snapshot.cameras], () => {
    const rows = cameras.map((name) => cameraRow(name, reports.get(name)));
    byId("cameras").replaceChildren(...(rows.length ? rows : [nothing("No camera is configured.")]));
  });
}

function cameraRow(name, report) {
  const row = html("li", {}, html("div", { className: "line" }, badge(report?.status ?? "unknown"), html("strong", { textContent: name })));
  if (!report) return row;
  row.firstChild.append(html("time", { textContent: `${report.fps.toFixed(1)} fps` }));
  const counts = `${report.processed} processed · ${report.dropped} dropped · ${report.reconnects} reconnects`;
  row.append(html("p", { className: "detail", textContent: report.problem ? `${report.problem} · ${counts}` : counts }));
  return row;
}

/** Where the governor stands, and its last moves with their reasons. */
export function drawGovernor({ snapshot, moves }) {
  const { state, telemetry } = snapshot;
  const report = telemetry?.governor ?? null;
  const place = report ? ` (${report.index + 1} of ${report.rungs})` : "";
  byId("rung").textContent = state.rung ? `${state.rung}${place}` : "–";
  onChange(byId("moves"), moves, () => {
    const rows = moves.map(move);
    byId("moves").replaceChildren(...(rows.length ? rows : [nothing("All limits kept since the agent started.")]));
  });
}

function move({ at_ms, rung, cause, reason }) {
  const row = html(
    "li",
    {},
    html("div", { className: "line" }, badge(cause), html("strong", { textContent: rung }), html("time", { textContent: time(at_ms) })),
  );
  row.append(html("p", { className: "detail", textContent: reason }));
  return row;
}

export function drawSystem({ snapshot }) {
  const { state, telemetry } = snapshot;
  const temperature = telemetry?.temperature_c ?? null;
  const facts = [
    ["temperature", temperature === null ? "–" : `${temperature.toFixed(1)} °C`],
    ["memory", telemetry ? `${telemetry.control_pss_mb.toFixed(0)} + ${telemetry.worker_pss_mb.toFixed(0)} MB` : "–"],
    ["waiting messages", telemetry ? `${telemetry.outbox_messages}` : "–"],
    ["dropped messages", telemetry ? `${telemetry.outbox_dropped}` : "–"],
    ["broker reconnects", telemetry ? `${telemetry.link_reconnects}` : "–"],
    ["worker restarts", telemetry ? `${telemetry.worker_restarts}` : "–"],
    ["broker", snapshot.link || "–"],
    ["profile", state.profile || "–"],
    ["agent", state.agent || "–"],
    ["release floor", `${state.floor}`],
    ["policy", `${state.policy_ver}`],
    ["audit head", state.audit_head.slice(0, 12) || "–"],
  ];
  onChange(byId("system"), facts, () => {
    byId("system").replaceChildren(
      ...facts.map(([name, value]) => html("div", {}, html("dt", { textContent: name }), html("dd", { textContent: value }))),
    );
  });
}

const objects = new Map(); // by event id, in order of their latest event

/** Merge new events, one row per object, newest on top. */
export function drawEvents(events, labels) {
  for (const event of events) {
    objects.delete(event.id);
    objects.set(event.id, event);
  }
  while (objects.size > MAX_EVENTS) objects.delete(objects.keys().next().value);
  const newest = [...objects.values()].reverse();
  onChange(byId("events"), newest, () => {
    const rows = newest.map((event) => eventRow(event, labels));
    byId("events").replaceChildren(...(rows.length ? rows : [nothing("Nothing seen yet.")]));
  });
}

function eventRow(event, labels) {
  const dot = html("i", { className: "dot" });
  dot.style.background = colourOf(Math.max(0, labels.indexOf(event.label)));
  const what = event.type === "end" ? "left after" : "seen for";
  const detail = `${event.camera} · ${what} ${duration((event.end_ms ?? event.at_ms) - event.start_ms)} · best ${Math.round(event.top_score * 100)}%`;
  return html(
    "li",
    { className: event.type === "end" ? "past" : "" },
    html("div", { className: "line" }, dot, html("strong", { textContent: event.label }),
      html("span", { className: "detail", textContent: detail }), html("time", { textContent: time(event.start_ms) })),
  );
}
