// The zone editor: which camera, its shapes with their settings, and saving them as configuration. The agent checks
// what is saved and names the field that is wrong; the change is tried and undone by itself if the device is not well.

import { ask, byId, html, Refused } from "/dom.js";
import { KINDS, lineNames, newShape, placeOf, placesOf, rename, shapesOf } from "/shapes.js";
import { Stage } from "/stage.js";

const SAVE_MS = 15_000;
const HELP = {
  zone: "Objects enter, leave and stay in it.",
  line: "Objects cross it; the arrow shows forward.",
  mask: "Blackened before anything looks at the picture.",
  speed: "Measured between two lines that are so far apart on the ground.",
};
const ANCHORS = { bottom: "its box's lower edge", center: "its box's middle (camera looks straight down)" };

export class ZoneEditor {
  constructor() {
    this.camera = "";
    this.places = {};
    this.shapes = [];
    this.labels = [];
    this.active = null;
    this.dirty = false;
    this.faults = [];
    this.mayEdit = false;
    this.shown = false;
    this.stage = new Stage(byId("stage"), () => this.touch(), (shape) => this.choose(shape));
    byId("zone-camera").addEventListener("change", (event) => this.open(event.target.value));
    byId("zone-picture").addEventListener("click", () => this.stage.load(this.camera));
    byId("discard").addEventListener("click", () => this.open(this.camera));
    byId("shapes").addEventListener("submit", (event) => this.save(event));
    for (const button of document.querySelectorAll("[data-add]")) button.addEventListener("click", () => this.add(button.dataset.add));
    addEventListener("beforeunload", (event) => this.dirty && event.preventDefault());
  }

  setShown(shown) {
    this.shown = shown;
    if (shown && this.camera) this.stage.load(this.camera);
  }

  show({ role, snapshot, settings, may_log_in }) {
    this.labels = snapshot.labels;
    const busy = Boolean(settings?.trial);
    const may = role === "operator" && Boolean(settings);
    if (may !== this.mayEdit) {
      this.mayEdit = may;
      this.draw();
    }
    byId("save").disabled = !may || busy || !this.dirty;
    byId("discard").disabled = !this.dirty;
    this.tell(role, settings, may_log_in);
  }

  /** Say in one line why nothing can be saved, or how the last change ended. */
  tell(role, settings, mayLogIn) {
    let [tone, text] = ["", ""];
    if (!settings) text = "Zones cannot be changed here.";
    else if (role !== "operator") text = mayLogIn ? "You are a viewer: log in as operator to change zones." : "You are a viewer: zones are changed by an operator.";
    else if (settings.trial) [tone, text] = ["busy", "A change is being tried: the agent starts again with it, and keeps it once its cameras stream."];
    else if (this.waiting && settings.last && settings.last.at_ms >= this.waiting) {
      const { kept, reason, code } = settings.last;
      [tone, text] = kept ? ["good", "Saved: the device runs with these zones."] : ["bad", `Undone: ${reason} [${code}]`];
    }
    const note = byId("zone-note");
    note.className = `notice ${tone}`;
    note.hidden = !text;
    if (note.textContent !== text) note.textContent = text;
  }

  setPlaces(places) {
    this.places = places;
    const names = Object.keys(places);
    const select = byId("zone-camera");
    select.replaceChildren(...names.map((name) => html("option", { value: name, textContent: name })));
    if (this.dirty && names.includes(this.camera)) {
      select.value = this.camera;
      return; // somebody is at work: do not take the shapes from under the hands
    }
    const name = names.includes(this.camera) ? this.camera : names[0];
    if (name) this.open(name);
  }

  open(camera) {
    const places = this.places[camera];
    if (!places) return;
    const before = this.active?.entry.name;
    this.camera = camera;
    byId("zone-camera").value = camera;
    this.shapes = shapesOf(places);
    this.active = this.shapes.find(({ entry }) => entry.name === before) ?? this.shapes[0] ?? null;
    this.dirty = false;
    this.faults = [];
    if (this.shown) this.stage.load(camera);
    this.draw();
  }

  add(kind) {
    const shape = newShape(kind, this.shapes);
    this.shapes.push(shape);
    this.active = shape;
    this.touch();
    this.draw();
    byId("shapes").querySelector("fieldset.active input")?.focus();
  }

  remove(shape) {
    this.shapes = this.shapes.filter((one) => one !== shape);
    if (this.active === shape) this.active = this.shapes[0] ?? null;
    this.touch();
    this.draw();
  }

  choose(shape) {
    this.active = shape;
    this.draw();
  }

  touch() {
    this.dirty = true;
    byId("save").disabled = !this.mayEdit;
    byId("discard").disabled = false;
  }

  async save(event) {
    event.preventDefault();
    if (!this.mayEdit || !this.dirty) return;
    byId("save").disabled = true;
    this.faults = [];
    const body = JSON.stringify(placesOf(this.shapes));
    const headers = { "Content-Type": "application/json" };
    try {
      const answer = await ask(`/api/places/${encodeURIComponent(this.camera)}`, { method: "PUT", body, headers, patience_ms: SAVE_MS });
      this.dirty = false;
      this.waiting = answer.at_ms;
    } catch (error) {
      this.faults = error instanceof Refused && error.body.faults ? error.body.faults : [{ place: "", message: error.message }];
    }
    this.draw();
    byId("shapes").querySelector("[aria-invalid='true']")?.focus();
  }

  draw() {
    this.stage.show(this.shapes, this.active, !this.mayEdit);
    for (const button of document.querySelectorAll("[data-add]")) button.disabled = !this.mayEdit;
    const known = new Set();
    const sets = this.shapes.map((shape) => this.fieldset(shape, known));
    const rest = this.faults.filter((fault) => !known.has(fault));
    const empty = html("p", { className: "empty", textContent: "Nothing is drawn on this camera's picture." });
    byId("shapes").replaceChildren(
      ...rest.map((fault) => html("p", { className: "problem", role: "alert", textContent: [fault.place, fault.message].filter(Boolean).join(": ") })),
      ...(sets.length ? sets : [empty]),
    );
    byId("save").disabled = !this.mayEdit || !this.dirty;
    byId("discard").disabled = !this.dirty;
  }

  fieldset(shape, known) {
    const active = shape === this.active;
    const place = placeOf(this.shapes, shape);
    const own = this.faults.filter((fault) => fault.place === place || fault.place.startsWith(`${place}.`) || fault.place.startsWith(`${place}[`));
    for (const fault of own) known.add(fault);
    const fieldOf = (fault) => fault.place.slice(place.length + 1).split(/[.[]/)[0];
    const faultOf = (field) => own.find((fault) => fieldOf(fault) === field)?.message ?? "";
    const fields = active ? this.fields(shape, faultOf) : [];
    const asked = new Set(fields.map((field) => field.dataset.field));
    const others = own.filter((fault) => !asked.has(fieldOf(fault)));
    const pick = html("button", { type: "button", className: "pick", ariaExpanded: String(active) },
      html("i", { className: `key ${shape.kind}` }), html("strong", { textContent: shape.entry.name || "unnamed" }), html("span", { className: "detail", textContent: KINDS[shape.kind].toLowerCase() }));
    pick.addEventListener("click", () => this.choose(shape));
    const remove = html("button", { type: "button", className: "quiet", textContent: "Remove", ariaLabel: `Remove ${shape.entry.name}`, disabled: !this.mayEdit });
    remove.addEventListener("click", () => this.remove(shape));
    return html("fieldset", { className: active ? "active" : "" }, html("div", { className: "line" }, pick, remove), ...fields,
      ...others.map(({ message }) => html("p", { className: "fault", role: "alert", textContent: message })));
  }

  fields(shape, faultOf) {
    const { kind } = shape;
    const fields = [this.input(shape, "name", "Name", { value: shape.entry.name, maxLength: 63 }, String, faultOf)];
    if (kind === "zone" || kind === "line") {
      const labels = (shape.entry.labels ?? []).join(", ");
      const classes = (text) => text.split(",").map((label) => label.trim()).filter(Boolean);
      fields.push(this.input(shape, "labels", "Only these classes", { value: labels, placeholder: `all of ${this.labels.join(", ")}` }, classes, faultOf));
      fields.push(this.input(shape, "anchor", "An object stands at", { options: ANCHORS, value: shape.entry.anchor ?? "bottom" }, String, faultOf));
      fields.push(this.input(shape, "min_score", "Least score", { type: "number", min: 0, max: 1, step: 0.05, value: shape.entry.min_score ?? 0 }, Number, faultOf));
    }
    if (kind === "zone") {
      const seconds = (text) => (text === "" ? null : Number(text));
      fields.push(this.input(shape, "loiter_s", "Loiters after, seconds", { type: "number", min: 0, step: 1, value: shape.entry.loiter_s ?? "", placeholder: "never" }, seconds, faultOf));
      fields.push(this.input(shape, "inertia", "Frames to enter or leave", { type: "number", min: 1, step: 1, value: shape.entry.inertia ?? 3 }, Number, faultOf));
    }
    if (kind === "speed") {
      const options = Object.fromEntries(lineNames(this.shapes).map((name) => [name, name]));
      for (const [side, title] of [["first", "From line"], ["second", "To line"]]) {
        fields.push(this.input(shape, side, title, { options, value: shape.entry[side] }, String, faultOf));
      }
      fields.push(this.input(shape, "distance_m", "Distance, metres", { type: "number", min: 0, step: "any", value: shape.entry.distance_m }, Number, faultOf));
    }
    return [html("p", { className: "help", textContent: HELP[kind] }), ...fields];
  }

  /** A labelled field; with `options` (what is chosen: what is shown) a list to choose from. */
  input(shape, field, title, { options, value, ...properties }, parse, faultOf) {
    const fault = faultOf(field);
    const id = `field-${shape.kind}-${this.shapes.indexOf(shape)}-${field}`;
    const choices = Object.entries(options ?? {}).map(([chosen, text]) => html("option", { value: chosen, textContent: text }));
    const input = html(options ? "select" : "input", { id, disabled: !this.mayEdit, autocomplete: "off", ...properties }, ...choices);
    input.value = value;
    input.addEventListener("input", () => {
      if (field === "name") rename(this.shapes, shape, parse(input.value));
      else shape.entry = { ...shape.entry, [field]: parse(input.value) };
      this.touch();
      if (field === "name") this.stage.draw();
    });
    const label = html("label", { htmlFor: id, textContent: title });
    const holder = html("div", { className: "field" }, label, input);
    holder.dataset.field = field;
    if (fault) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", `${id}-fault`);
      holder.append(html("p", { id: `${id}-fault`, className: "fault", role: "alert", textContent: fault }));
    }
    return holder;
  }
}
