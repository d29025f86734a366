// The device's page: every second, ask for the status and draw it.

import { ask, byId, modelName, toneOf, words } from "/dom.js";
import { DriftView } from "/drift.js";
import { EventList } from "/events.js";
import { begin, chip } from "/frame.js";
import { drawFigures, drawRecent } from "/glance.js";
import { LiveView } from "/live.js";
import { drawLatest, drawModel } from "/model.js";
import { ShadowView } from "/shadow.js";
import { SpeedView } from "/speed.js";
import { SystemView } from "/system.js";
import { ZoneEditor } from "/zones.js";

const PERIOD_MS = 1000;
const live = new LiveView();
const events = new EventList();
const zones = new ZoneEditor();
const speed = new SpeedView();
const drift = new DriftView();
const shadow = new ShadowView();
const system = new SystemView();
const VIEWS = { live, events, zones, speed, drift, "model-view": shadow, system };
let newestEvent = 0;
let placesVersion = "";

function drawHeader({ snapshot, healthy, role, may_log_in, may_log_out }) {
  const { state } = snapshot;
  byId("device").textContent = state.device;
  document.title = `${state.device} · Vigil`;
  const model = state.release ? modelName(state.release) : "no model loaded";
  byId("model").textContent = state.variant ? `${model} · ${state.variant}` : model;
  chip("phase", toneOf(state.phase), words(state.phase));
  chip("link", snapshot.link_connected ? "good" : "bad", snapshot.link_connected ? "broker connected" : "broker offline");
  chip("worker", healthy ? "good" : "bad", healthy ? "vision running" : "no vision");
  chip("role", "plain", role);
  byId("log-in").hidden = !may_log_in || role === "operator";
  byId("log-out").hidden = !may_log_out;
}

async function refresh() {
  const status = await ask("/api/status");
  const { snapshot } = status;
  drawHeader(status);
  live.show(status);
  zones.show(status);
  system.show(status);
  speed.show(status);
  drift.show(status);
  events.show(status);
  drawLatest(status);
  drawModel(status);
  const { number, events: news } = await ask(`/api/events?after=${newestEvent}`);
  newestEvent = number;
  drawRecent(news, snapshot.labels);
  if (news.length) events.stir();
  if ((status.places_version ?? "") !== placesVersion) {
    placesVersion = status.places_version;
    const { cameras } = await ask("/api/places");
    live.setPlaces(cameras);
    zones.setPlaces(cameras);
    events.setPlaces(cameras);
  }
  await Promise.all([speed.refresh(), system.refresh(), shadow.refresh()]);
  drawFigures(status, speed.points);
  drift.take(speed.points);
}

begin({ views: VIEWS, refresh, answerer: "the agent", period_ms: PERIOD_MS });
