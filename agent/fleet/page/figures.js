// How a device's words and figures are shown, on all parts of the page.

import { html } from "/dom.js";

export const CONDITIONS = ["online", "trouble", "offline", "unheard", "revoked"];
const TONES = { online: "good", trouble: "bad", offline: "warn" };

export const conditionBadge = (name) => html("span", { className: `badge ${TONES[name] ?? ""}`, textContent: name });

/** A number with one decimal; devices may send any. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) < 1e5 ? value.toFixed(1) : value.toExponential(1);
}

/** How long ago, roughly. */
export function ago(ms) {
  if (!ms) return "never";
  const seconds = Math.max(0, (Date.now() - ms) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} d ago`;
}

export const deviceLink = (id) => html("a", { href: `#device/${encodeURIComponent(id)}`, textContent: id });

/** A bar of parts, each with a class and a count; what it means is also said in words. */
export function stacked(parts, title) {
  const shown = parts.filter(([, count]) => count);
  const bar = html("div", { className: "stacked", role: "img", "aria-label": `${title}: ${shown.map(([name, count]) => `${count} ${name}`).join(", ")}` });
  for (const [name, count] of shown) {
    const part = html("span", { className: name, title: `${count} ${name}` });
    part.style.flexGrow = count;
    bar.append(part);
  }
  return bar;
}
