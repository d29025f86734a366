// The page's loop: ask for the status every second, draw it, and say so when the agent does not answer.

import { byId } from "/dom.js";
import { LiveView } from "/live.js";
import { drawCameras, drawEvents, drawGovernor, drawHeader, drawHistory, drawLatency, drawSystem, drawUpdate } from "/panels.js";

const PERIOD_MS = 1000;
const TIMEOUT_MS = 4000;
const live = new LiveView();
let newestEvent = 0;

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  if (answer.status === 401) location.assign("/login");
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message ?? `answer ${answer.status}`);
  return body;
}

function banner(text) {
  byId("banner").hidden = !text;
  byId("banner").textContent = text;
  document.body.classList.toggle("offline", Boolean(text));
}

async function refresh() {
  const status = await ask("/api/status");
  const { snapshot } = status;
  live.labels = snapshot.labels;
  live.setCameras(status.cameras);
  live.setReports(snapshot.cameras);
  for (const draw of [drawHeader, drawUpdate, drawLatency, drawGovernor, drawHistory, drawCameras, drawSystem]) draw(status);
  const { number, events } = await ask(`/api/events?after=${newestEvent}`);
  newestEvent = number;
  drawEvents(events, snapshot.labels);
}

async function loop() {
  if (!document.hidden) {
    try {
      await refresh();
      banner("");
    } catch (error) {
      banner(`No answer from the agent (${error.message}). Trying again; what you see is old.`);
    }
  }
  setTimeout(loop, PERIOD_MS);
}

loop();
