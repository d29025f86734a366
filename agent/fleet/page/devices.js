// The table of all devices: the controller filters, sorts and pages it. `#devices/trouble/people 2.0` names the first
// two filters.

import { ask, badge, byId, html, onChange } from "/dom.js";
import { ago, conditionBadge, deviceLink, number } from "/figures.js";
import { addressed } from "/frame.js";

export class DevicesView {
  #shown = false;
  #page = 1;

  constructor() {
    this.form = byId("filters");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => this.#turn(1));
    byId("before").addEventListener("click", () => this.#turn(this.#page - 1));
    byId("next").addEventListener("click", () => this.#turn(this.#page + 1));
  }

  setShown(shown) {
    this.#shown = shown;
    if (!shown) return;
    this.form.reset();
    const { show, release } = this.form.elements;
    const [wanted, version] = addressed();
    show.value = wanted || "all";
    if (!show.value) show.value = "all";
    release.value = version ?? "";
    this.#turn(1);
  }

  #turn(page) {
    this.#page = page;
    this.refresh().catch(() => {}); // the page's loop asks again, and says what is wrong
  }

  #address() {
    return `/api/devices?${new URLSearchParams([...new FormData(this.form), ["page", this.#page]])}`;
  }

  async refresh() {
    if (!this.#shown) return;
    const address = this.#address();
    const answer = await ask(address);
    if (address === this.#address()) onChange(byId("devices"), [answer, Math.floor(Date.now() / 10000)], () => this.#draw(answer));
  }

  #draw({ total, page, pages, rows }) {
    this.#page = page;
    byId("count").textContent = `${total} ${total === 1 ? "device" : "devices"}`;
    byId("page").textContent = `page ${page} of ${pages}`;
    byId("before").disabled = page <= 1;
    byId("next").disabled = page >= pages;
    byId("rows").replaceChildren(...rows.map(line));
  }
}

function line(row) {
  const state = html("td", {}, conditionBadge(row.condition));
  if (row.problem) state.append(html("span", { className: "bad-text", textContent: ` ${row.problem}` }));
  const phase = row.phase ? badge(row.phase) : "–";
  return html("tr", {}, html("th", { scope: "row" }, deviceLink(row.id)), state, cell(row.release), html("td", {}, phase),
    measure(row.fps, "fps"), measure(row.temperature_c, "°C"), cell(row.rung), cell([row.drift, row.slow].filter(Boolean).join(" · "), "warn-text"), cell(ago(row.heard_ms)));
}

const cell = (text, className = "") => html("td", { className, textContent: text || "–" });
const measure = (value, unit) => html("td", { className: "measure", "data-unit": unit, textContent: number(value) });
