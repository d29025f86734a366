// The fleet's page: what is shown is asked for again every few seconds. It can command nothing.

import { ask, byId } from "/dom.js";
import { DeviceView } from "/device.js";
import { DevicesView } from "/devices.js";
import { begin, chip } from "/frame.js";
import { drawOverview } from "/overview.js";
import { RolloutsView } from "/rollouts.js";

const PERIOD_MS = 3000;
const views = { overview: null, devices: new DevicesView(), rollouts: new RolloutsView(), device: new DeviceView() };

async function refresh() {
  const fleet = await ask("/api/fleet");
  byId("model").textContent = `${fleet.devices} ${fleet.devices === 1 ? "device" : "devices"}`;
  chip("link", fleet.connected ? "good" : "bad", fleet.connected ? "broker connected" : "broker offline");
  byId("log-out").hidden = !fleet.may_log_out;
  drawOverview(fleet);
  await Promise.all(Object.values(views).map((view) => view?.refresh()));
}

begin({ views, refresh, answerer: "the controller", period_ms: PERIOD_MS });
