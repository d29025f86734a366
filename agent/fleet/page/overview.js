// The fleet at a glance: sums, states of the largest groups, versions and temperatures.

import { share } from "/candidate.js";
import { byId, fill, html, modelName, onChange } from "/dom.js";
import { CONDITIONS, deviceLink, number, stacked } from "/figures.js";

function figure(name, value, detail, href) {
  const strong = html("strong", { textContent: value });
  const shown = href ? html("a", { href }, strong) : strong;
  return html("div", { className: "figure" }, html("dt", { textContent: name }), html("dd", {}, shown), html("dd", { className: "detail" }, detail));
}

function drawFigures({ devices, conditions, drifting, slow, comparing, hottest }) {
  const [top] = hottest;
  byId("figures").replaceChildren(
    figure("online and well", conditions.online, `of ${devices}`, "#devices/online"),
    figure("in trouble", conditions.trouble, `${conditions.offline} offline, ${conditions.unheard} unheard`, "#devices/trouble"),
    figure("drifting", drifting, "cameras unlike the model's", "#devices/drifting"),
    figure("slow", slow, "beside their like", "#devices/slow"),
    figure("in shadow", comparing, "compare a candidate", "#devices/comparing"),
    figure("hottest", top ? `${number(top.temperature_c)} °C` : "–", top ? deviceLink(top.id) : "no temperature heard"),
  );
}

function drawStates({ conditions, groups }) {
  const rows = [{ name: "all", conditions }, ...groups].map((one) => html("div", { className: "group" },
    html("span", { textContent: one.name }), stacked(CONDITIONS.map((name) => [name, one.conditions[name]]), one.name)));
  byId("states").replaceChildren(...rows);
  byId("legend").replaceChildren(...CONDITIONS.map((name) => html("li", {}, html("i", { className: `dot ${name}` }),
    html("a", { href: `#devices/${name}`, textContent: `${name} ${conditions[name]}` }))));
}

/** Rows of a name, a bar and a count. */
function drawBars(id, bars, label) {
  const most = Math.max(1, ...bars.map((bar) => bar.count));
  const rows = bars.map((bar) => {
    const meter = html("progress", { max: most, value: bar.count, "aria-hidden": "true" });
    return html("li", {}, label(bar.name), meter, html("b", { textContent: bar.count }));
  });
  fill(byId(id), rows, "No device yet.");
}

const plain = (name) => html("span", { textContent: named(name) });
const named = (name) => (name === null ? "others" : name || "not known");
const released = (name) => (name ? html("a", { href: `#devices/all/${encodeURIComponent(name)}`, textContent: name }) : plain(name));

function candidate({ candidate: name, devices, running, frames, of_frames, agreement, least }) {
  const line = html("div", { className: "line" }, html("strong", { textContent: modelName(name) }), html("time", { textContent: `${share(agreement)} agree` }));
  const bar = html("progress", { max: Math.max(1, of_frames), value: frames, "aria-hidden": "true" });
  const told = [`${running} of ${devices} devices still compare`, `${frames} of ${of_frames} frames`].join(" · ");
  const lowest = least ? [" · least ", deviceLink(least.id), ` ${share(least.agreement)}`] : [];
  return html("li", {}, line, bar, html("p", { className: "detail" }, told, ...lowest));
}

export function drawOverview(fleet) {
  onChange(byId("overview"), fleet, () => {
    drawFigures(fleet);
    drawStates(fleet);
    drawBars("releases", fleet.releases, released);
    drawBars("agents", fleet.agents, plain);
    drawBars("temperatures", fleet.temperatures, plain);
    byId("candidates-panel").hidden = !fleet.candidates.length;
    fill(byId("candidates"), fleet.candidates.map(candidate), "None.");
  });
}
