// What the first part of the page tells at a glance: figures with their last minutes, and what was seen lately.

import { byId, colourOf, duration, fill, html, onChange, svg, time } from "/dom.js";

const KEPT = 90;
const MAX_EVENTS = 30;
const objects = new Map(); // by event id, in order of their latest event

/** A line of the last values, without axes: the figure beside it gives the scale. */
function sparkline(values) {
  const top = Math.max(1e-9, ...values) * 1.12;
  const step = 100 / (KEPT - 1);
  const start = 100 - (values.length - 1) * step;
  const line = values.map((value, index) => `${(start + index * step).toFixed(1)},${(23 - (21 * value) / top).toFixed(1)}`).join(" ");
  return svg(
    "svg",
    { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polygon", { points: `${start.toFixed(1)},24 ${line} 100,24` }),
    svg("polyline", { points: line }),
  );
}

function figure(name, value, unit, detail, trend) {
  const kept = trend.filter((one) => one !== null && one !== undefined);
  const text = html("dd", {}, html("strong", { textContent: value }), html("span", { textContent: ` ${unit}` }));
  const parts = [html("dt", { textContent: name }), text, html("dd", { className: "detail", textContent: detail })];
  return html("div", { className: "figure" }, ...parts, ...(kept.length > 1 ? [sparkline(kept)] : []));
}

/** The newest figures, each over its `points` of the last minutes. */
export function drawFigures({ snapshot }, points) {
  const { telemetry, state, cameras } = snapshot;
  const last = points.slice(-KEPT);
  const fps = cameras.reduce((sum, camera) => sum + camera.fps, 0);
  const infer = telemetry?.stages?.infer;
  const heat = telemetry?.temperature_c ?? null;
  const memory = telemetry ? telemetry.control_pss_mb + telemetry.worker_pss_mb : null;
  byId("figures").replaceChildren(
    figure("frames", fps.toFixed(1), "per second", `${cameras.length} ${cameras.length === 1 ? "camera" : "cameras"}`, last.map((point) => point.fps)),
    figure("inference", infer ? infer.p50.toFixed(1) : "–", "ms", infer ? `p95 ${infer.p95.toFixed(1)} ms` : "no frames", last.map((point) => point.stages.infer?.[0])),
    figure("temperature", heat === null ? "–" : heat.toFixed(1), heat === null ? "no sensor" : "°C", state.rung ? `rung ${state.rung}` : "no governor", last.map((point) => point.temperature_c)),
    figure("memory", memory === null ? "–" : memory.toFixed(0), "MB", telemetry ? `worker ${telemetry.worker_pss_mb.toFixed(0)} MB` : "", last.map((point) => point.memory_mb)),
  );
}

/** Merge new events, one row per object, newest on top. */
export function drawRecent(events, labels) {
  for (const event of events) {
    objects.delete(event.id);
    objects.set(event.id, event);
  }
  while (objects.size > MAX_EVENTS) objects.delete(objects.keys().next().value);
  const newest = [...objects.values()].reverse();
  onChange(byId("recent"), newest, () => fill(byId("recent"), newest.map((event) => row(event, labels)), "Nothing seen yet."));
}

function row(event, labels) {
  const dot = html("i", { className: "dot" });
  dot.style.background = colourOf(Math.max(0, labels.indexOf(event.label)));
  const ended = event.type === "end";
  const places = event.current_zones?.length ? ` · in ${event.current_zones.join(", ")}` : "";
  const detail = `${event.camera} · ${duration((event.end_ms ?? event.at_ms) - event.start_ms)} · ${Math.round(event.top_score * 100)}%${places}`;
  const line = html("a", { className: "line", href: `#events/${encodeURIComponent(event.id)}` },
    dot, html("strong", { textContent: event.label }), html("span", { className: "detail", textContent: detail }),
    html("time", { textContent: time(event.start_ms) }));
  return html("li", { className: ended ? "past" : "" }, line);
}
