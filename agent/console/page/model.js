// What runs, how far an update is, and how the last ones ended.

import { runLines } from "/candidate.js";
import { badge, byId, bytes, fill, fillFacts, html, modelName, onChange, moment } from "/dom.js";

const STEPS = {
  downloading: "fetch", staged: "staged", verified: "verified", trial: "trial", probation: "probation", committed: "kept",
};

export function drawModel({ snapshot, updates }) {
  const { state } = snapshot;
  fillFacts(byId("running"), [
    ["model", state.release ? modelName(state.release) : "none"],
    ["variant", state.variant ?? "–"],
    ["classes", snapshot.labels.join(", ") || "–"],
    ["profile", state.profile || "–"],
    ["pipeline", state.pipeline],
    ["rung", state.rung || "–"],
    ["release floor", `${state.floor}`],
    ["policy version", `${state.policy_ver}`],
  ]);
  const now = Object.keys(STEPS).indexOf(state.phase);
  onChange(byId("steps"), state.phase, () => byId("steps").replaceChildren(...steps(now)));
  onChange(byId("progress"), [state.progress, state.problem, state.phase], () => {
    const parts = [...(state.progress ? [transfer(state.progress)] : []), ...(state.problem ? [warning(state.problem)] : [])];
    byId("progress").replaceChildren(...(parts.length ? parts : [html("p", { className: "empty", textContent: now < 0 ? "No update is under way." : "" })]));
  });
  onChange(byId("outcomes"), updates, () => fill(byId("outcomes"), updates.map(outcome), "No update since the agent started."));
}

/** The short form beside the live view: where the update stands and how the last ones ended. */
export function drawLatest({ snapshot, updates }) {
  const { phase, progress, problem } = snapshot.state;
  const run = snapshot.telemetry?.shadow ?? null;
  onChange(byId("latest"), [phase, progress, problem, run, updates.slice(0, 3)], () => {
    const now = Object.keys(STEPS).indexOf(phase);
    const list = html("ul", { className: "rows" });
    fill(list, updates.slice(0, 3).map(outcome), "No update since the agent started.");
    const beside = run ? [html("a", { href: "#model-view", className: "beside" }, ...runLines(run))] : [];
    const parts = [...(progress ? [transfer(progress)] : []), ...(problem ? [warning(problem)] : []), list, ...beside];
    byId("latest").replaceChildren(html("ol", { className: "steps", ariaLabel: "Phases of an update" }, ...steps(now)), ...parts);
  });
}

function steps(now) {
  return Object.values(STEPS).map((name, index) => {
    const step = html("li", { className: index < now ? "done" : index === now ? "now" : "", textContent: name });
    if (index === now) step.setAttribute("aria-current", "step");
    return step;
  });
}

const warning = (text) => html("p", { className: "problem", textContent: text });

function transfer({ file, done, total, waiting }) {
  const bar = html("progress", { max: Math.max(1, total), value: done });
  bar.setAttribute("aria-label", `Transfer of ${file}`);
  return html("div", { className: "transfer" }, bar, html("span", { textContent: `${bytes(done)} of ${bytes(total)}${waiting ? ` · ${waiting}` : ""}` }));
}

function outcome(report) {
  const line = html("div", { className: "line" }, badge(report.outcome), html("strong", { textContent: modelName(report.release) }),
    html("time", { textContent: moment(report.at_ms) }));
  const reason = [report.reason, report.code && `[${report.code}]`].filter(Boolean).join(" ");
  const gap = report.swap_gap_ms === null ? "" : `swap gap ${report.swap_gap_ms.toFixed(0)} ms`;
  const detail = [reason, gap].filter(Boolean).join(" · ");
  return html("li", {}, line, ...(detail ? [html("p", { className: "detail", textContent: detail })] : []));
}
