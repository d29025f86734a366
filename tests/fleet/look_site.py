"""A fleet's folder with a real mosquitto and four devices, for those who look at it from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.fleet.home import FleetHome
from agent.fleet.registry import DeviceRecord, GrantRecord
from agent.schema.document import to_json
from agent.schema.messages import State
from tests.console.scripted import telemetry
from tests.fleet.fleet_site import fleet_site, tls_of
from tests.fleet.mqtt_device import Device

EVIL = "=1+1[red]\x1b[2J"
PREFIX = "vigil/1/d/cam-1"
DEVICES = ("cam-1", "cam-2", "cam-3", "cam-4")


@dataclass
class Site:
    """A fleet's folder with its own mosquitto."""

    home: FleetHome
    port: int

    def device(self, name: str) -> Device:
        return Device(self.port, tls_of(self.home, name), name)


@contextmanager
def site_in(folder: Path) -> Iterator[Site]:
    """Yield a site in a folder: `cam-1` has spoken, the others have not."""
    with fleet_site(folder) as home:
        records = [DeviceRecord(name, "gate", ("north",), b"", "0") for name in DEVICES]
        home.registry.put_devices(records)
        home.registry.log_grant(GrantRecord(1_000, "cam-1", "gate/people/1.0", 200))
        home.write_access()
        made = Site(home, home.config.broker_port)
        device = made.device("cam-1")
        assert device.accepted()
        said = State(v=1, device="cam-1", online=True, release="people 1.0", problem=EVIL)
        device.publish(f"{PREFIX}/state", to_json(said), retain=True)
        device.publish(f"{PREFIX}/telemetry", to_json(telemetry(device="cam-1")), retain=True)
        yield made
        device.close()
