// What every page does: ask again and again, say so when nobody answers, and show the part that the address names
// (#events), so that it can be linked to and gone back from.

import { byId } from "/dom.js";

function banner(text) {
  byId("banner").hidden = !text;
  byId("banner").textContent = text;
  document.body.classList.toggle("offline", Boolean(text));
}

export function chip(id, tone, text) {
  const element = byId(id);
  element.className = `chip ${tone}`;
  element.textContent = text;
}

/** The parts of the address behind the view's name: `#devices/trouble` gives ["trouble"]. */
export const addressed = () => location.hash.slice(1).split("/").slice(1).map(unescaped);

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route(views) {
  const [wanted] = location.hash.slice(1).split("/");
  if (wanted === "main") return;
  const name = wanted in views ? wanted : Object.keys(views)[0];
  for (const [view, part] of Object.entries(views)) {
    byId(view).hidden = view !== name;
    part?.setShown(view === name);
  }
  for (const link of document.querySelectorAll(".places a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  window.scrollTo(0, 0);
}

/** A part that asks for what it shows, in its own `load`, but only while it is looked at. */
export class AskingView {
  #shown = false;

  setShown(shown) {
    this.#shown = shown;
    if (shown) this.refresh().catch(() => {}); // the page's loop asks again, and says what is wrong
  }

  async refresh() {
    if (this.#shown) await this.load();
  }
}

/**
 * Begin the page.
 * @param views by the ids of their sections, the first is shown at first; each is told by `setShown`, null need not be
 * @param refresh asks and draws; what it throws is shown
 * @param answerer who is asked
 */
export function begin({ views, refresh, answerer, period_ms }) {
  async function loop() {
    if (!document.hidden) {
      try {
        await refresh();
        banner("");
      } catch (error) {
        banner(`No answer from ${answerer} (${error.message}). Trying again; what you see is old.`);
      }
    }
    setTimeout(loop, period_ms);
  }

  byId("log-out").addEventListener("click", async () => {
    await fetch("/logout", { method: "POST" });
    location.reload();
  });
  addEventListener("hashchange", () => route(views));
  route(views);
  loop();
}
