// The newest shadow run: how far it is, how far two models agree by class, and the pictures in which they differ most.

import { share, runLines } from "/candidate.js";
import { ask, byId, html, moment, onChange, svg } from "/dom.js";
import { AskingView } from "/frame.js";

const signed = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${value.toFixed(3)}`);
const MODELS = ["running", "candidate"];

export class ShadowView extends AskingView {
  async load() {
    const { run } = await ask("/api/shadow");
    const panel = byId("shadow");
    panel.hidden = run === null;
    if (run) onChange(panel, run, () => draw(run));
  }
}

function draw({ progress, report, labels, alone }) {
  byId("shadow-run").replaceChildren(...runLines(progress));
  const times = MODELS.map((model) => report[`${model}_latency`]);
  const told = MODELS.map((model, index) => (times[index] ? `${model} ${times[index].p50_ms.toFixed(1)} / ${times[index].p95_ms.toFixed(1)} ms` : "")).filter(Boolean).join(" · ");
  byId("shadow-times").textContent = told && `Time for a frame, p50 / p95: ${told}. The candidate has one thread and gives way to everything: an upper bound.`;
  byId("agreement").tBodies[0].replaceChildren(...[report.whole, ...report.classes].map(classRow));
  byId("differences").replaceChildren(...report.pictures.map((one) => picture(one, alone[one.file], labels)));
  byId("shadow-legend").hidden = !report.pictures.length;
}

function classRow({ name, agreement, both, running_only, candidate_only, score_difference }) {
  const bar = html("div", { className: "bar" }, html("i", {}));
  bar.firstChild.style.width = share(agreement ?? 0).replace(" ", "");
  const cells = [share(agreement), both, running_only, candidate_only, signed(score_difference)];
  return html("tr", {}, html("th", { scope: "row", textContent: name }), html("td", { className: "wide" }, bar), ...cells.map((value) => html("td", { textContent: value })));
}

/** A picture with what each model saw in it: boxes that one model alone saw are named, the others only hinted at. */
function picture({ file, camera, captured_ms, width, height, differing, ...found }, alone, labels) {
  const image = html("img", { src: `/shadow/${encodeURIComponent(file)}`, alt: `${camera}: ${differing} objects seen by one model alone`, loading: "lazy", width, height });
  const size = Math.max(10, width / 38);
  const boxes = MODELS.flatMap((model, index) => found[model].map((box, place) => seen(model, box, alone[index].includes(place), labels, { size, width })));
  boxes.sort((left, right) => left.childElementCount - right.childElementCount); // names lie on top
  const layer = svg("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...boxes);
  const caption = html("figcaption", {}, html("span", { textContent: camera }), html("span", { className: "detail", textContent: `${differing} seen by one alone` }), html("time", { textContent: moment(captured_ms) }));
  return html("figure", {}, html("div", { className: "picture" }, image, layer), caption);
}

function seen(model, [label, score, left, top, right, bottom], isAlone, labels, { size, width }) {
  const box = svg("rect", { x: left, y: top, width: right - left, height: bottom - top });
  if (!isAlone) return svg("g", { class: "agreed" }, box);
  const text = `${labels[label] ?? `class ${label}`} ${Math.round(score * 100)}%`;
  const y = model === "running" ? bottom - size * 0.35 : top + size;
  const isLast = left > width * 0.8; // its name would leave the picture
  const place = isLast ? { x: Math.min(right, width) - size * 0.3, "text-anchor": "end" } : { x: left + size * 0.3 };
  return svg("g", { class: model }, box, svg("text", { ...place, y, "font-size": size }, text));
}
