// Events that the device keeps: cards with thumbnails, filters, and one event in detail with its picture and clip.

import { ask, byId, colourOf, duration, fill, fillFacts, html, moment, Refused, svg } from "/dom.js";
import { player } from "/film.js";

const PAGE = 48;

export class EventList {
  constructor() {
    this.shown = false;
    this.labels = [];
    this.records = [];
    this.stirred = false;
    this.form = byId("filters");
    this.form.addEventListener("input", () => this.load());
    this.form.addEventListener("reset", () => setTimeout(() => this.load()));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    byId("older").addEventListener("click", () => this.older());
    byId("detail").addEventListener("close", () => this.closed());
    addEventListener("hashchange", () => this.follow());
  }

  setShown(shown) {
    this.shown = shown;
    if (shown) {
      this.load();
      this.follow();
    } else {
      byId("detail").close();
    }
  }

  show({ cameras, snapshot }) {
    this.labels = snapshot.labels;
    offer(this.form.elements.camera, cameras);
    offer(this.form.elements.label, snapshot.labels);
    if (this.shown && this.stirred && window.scrollY < 200 && this.records.length <= PAGE) this.load();
  }

  setPlaces(places) {
    const names = Object.values(places).flatMap(({ zones, lines }) => [...zones, ...lines].map(({ name }) => name));
    offer(this.form.elements.zone, [...new Set(names)]);
  }

  /** Something new happened: load again at the next occasion, while the newest are looked at. */
  stir() {
    this.stirred = true;
  }

  async load() {
    this.stirred = false;
    await this.fetch(null);
  }

  async older() {
    await this.fetch(this.records.at(-1)?.event.start_ms ?? null);
  }

  async fetch(before) {
    const asked = new URLSearchParams({ limit: PAGE });
    const { camera, label, zone, since, pictured } = this.form.elements;
    for (const select of [camera, label, zone]) if (select.value) asked.set(select.name, select.value);
    if (since.value) asked.set("since_ms", new Date(since.value).getTime());
    if (pictured.checked) asked.set("pictured", "1");
    if (before !== null) asked.set("before_ms", before);
    try {
      const { records, more } = await ask(`/api/kept-events?${asked}`);
      this.records = before === null ? records : [...this.records, ...records];
      byId("older").hidden = !more;
      fill(byId("cards"), this.records.map((record) => this.card(record)), "No such events are kept.");
    } catch (error) {
      fill(byId("cards"), [], error.message);
    }
  }

  card({ event, has_thumbnail, has_clip }) {
    const picture = has_thumbnail
      ? html("img", { src: pictureOf(event, "thumbnail"), alt: "", loading: "lazy", width: 176, height: 176 })
      : html("span", { className: "blank", textContent: event.label.slice(0, 1).toUpperCase(), ariaHidden: "true" });
    picture.style.borderColor = colourOf(Math.max(0, this.labels.indexOf(event.label)));
    const places = event.entered_zones?.length ? event.entered_zones.join(", ") : "";
    const link = html("a", { href: `#events/${encodeURIComponent(event.id)}` }, picture,
      html("strong", { textContent: event.label }), html("span", { className: "detail", textContent: `${Math.round(event.top_score * 100)}%${has_clip ? " · clip" : ""}` }),
      html("span", { className: "detail", textContent: [event.camera, places].filter(Boolean).join(" · ") }), html("time", { textContent: moment(event.start_ms) }));
    return html("li", { className: event.end_ms === null ? "now" : "" }, link);
  }

  /** Show the event that the address names. */
  async follow() {
    const [view, id] = location.hash.slice(1).split("/");
    if (view !== "events" || !id) return;
    try {
      this.open(await ask(`/api/kept-events/${id}`));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      byId("detail-title").textContent = "Event";
      byId("detail-body").replaceChildren(html("p", { className: "empty", textContent: error.message }));
      byId("detail").showModal();
    }
  }

  open({ event, has_snapshot, has_clip }) {
    byId("detail-title").textContent = `${event.label} on ${event.camera}`;
    const facts = html("dl", { className: "facts" });
    fillFacts(facts, factsOf(event));
    const parts = [
      ...(has_snapshot ? [snapshot(event, colourOf(Math.max(0, this.labels.indexOf(event.label))))] : [html("p", { className: "empty", textContent: "No picture is kept of this event." })]),
      ...(has_clip ? [player(pictureOf(event, "clip"))] : []),
      facts,
    ];
    byId("detail-body").replaceChildren(...parts);
    if (!byId("detail").open) byId("detail").showModal();
  }

  closed() {
    byId("detail-body").replaceChildren();
    if (location.hash.startsWith("#events/")) history.replaceState(null, "", "#events");
  }
}

const SUFFIX = { snapshot: "jpg", thumbnail: "jpg", clip: "avi" };
const pictureOf = ({ id }, kind) => `/event/${encodeURIComponent(id)}/${kind}.${SUFFIX[kind]}`;

/** The best picture of an object with its box, which belongs to exactly that picture. */
function snapshot(event, colour) {
  const image = html("img", { src: pictureOf(event, "snapshot"), alt: `${event.label} at its best` });
  const { width, height, snapshot: facts } = event;
  if (!facts || !width || !height) return html("div", { className: "picture" }, image);
  const [left, top, right, bottom] = facts.box;
  const box = svg("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top, stroke: colour });
  return html("div", { className: "picture" }, image, svg("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, box));
}

function factsOf(event) {
  const ended = event.end_ms !== null;
  return [
    ["began", moment(event.start_ms)],
    [ended ? "stayed" : "seen for", duration((event.end_ms ?? event.at_ms) - event.start_ms)],
    ["best score", `${Math.round(event.top_score * 100)} %`],
    ["state", ended ? "left" : event.stationary ? "there, resting" : "there"],
    ["was in", event.entered_zones?.join(", ") || "no zone"],
    ...(event.speed_m_s ? [["speed", `${event.speed_m_s.toFixed(2)} m/s`]] : []),
    ["model", event.release || "–"],
    ["id", event.id],
  ];
}

/** Offer these values in a filter, keeping what is chosen. */
function offer(select, values) {
  const known = [...select.options].slice(1).map(({ value }) => value);
  if (known.join("\n") === values.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...values.map((value) => html("option", { value, textContent: value })));
  select.value = values.includes(chosen) ? chosen : "";
}
