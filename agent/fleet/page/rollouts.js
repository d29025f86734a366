// The newest roll-outs: how many devices of each wave were asked, have the release, or failed.

import { ask, byId, html, moment, modelName, onChange } from "/dom.js";
import { stacked } from "/figures.js";
import { AskingView } from "/frame.js";

const TONES = { running: "busy", paused: "warn", halted: "bad", done: "good", aborted: "warn" };
const SAID = { committed: "have it", working: "at work", asked: "asked", failed: "failed", waiting: "waiting" };

export class RolloutsView extends AskingView {
  async load() {
    const rollouts = await ask("/api/rollouts");
    const list = byId("rollout-list");
    onChange(list, rollouts, () => {
      const none = html("p", { className: "empty", textContent: "No roll-out yet." });
      list.replaceChildren(...(rollouts.length ? rollouts.map(panel) : [none]));
    });
  }
}

function panel(rollout) {
  const standing = html("span", { className: `badge ${TONES[rollout.standing] ?? ""}`, textContent: rollout.standing });
  const title = html("h3", {}, html("span", {}, `${rollout.name} `, standing), html("small", { textContent: `${modelName(rollout.release)} · begun ${moment(rollout.started_ms)}` }));
  const reason = html("p", { className: "detail", textContent: rollout.reason });
  return html("section", { className: "panel rollout" }, title, reason, html("ol", { className: "waves" }, ...rollout.waves.map(wave)));
}

function wave({ name, steps }, index) {
  const parts = Object.keys(SAID).map((step) => [step, steps[step]]);
  const told = parts.filter(([, count]) => count).map(([step, count]) => `${count} ${SAID[step]}`).join(" · ");
  const title = `wave ${index + 1}, ${name}`;
  return html("li", {}, html("span", { textContent: title }), stacked(parts, title), html("span", { className: "detail", textContent: told || "no device of its own" }));
}
