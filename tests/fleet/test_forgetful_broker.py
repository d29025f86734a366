"""A broker is killed in the middle of a roll-out, and starts again without its database.

What it had acknowledged is gone: commands on their way to devices, what devices said while no controller ran, who is online,
sessions. Devices have a real device's link, and `vigil fleet serve` runs in a process of its own; only its roll-outs' clock is set.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import pytest

from agent.fleet.access import WATCH
from agent.fleet.controller import Controller
from agent.fleet.home import BROKER, MOSQUITTO_STATE, FleetHome
from agent.fleet.registry import DeviceRecord
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import RolloutStore
from agent.fleet.rollout_tally import Step
from agent.schema.config import BrokerConfig
from tests.fleet.crash_site import GROUPS, PLAN, WAVES
from tests.fleet.dock import Dock, dock_of
from tests.fleet.fleet_site import LOG, broker_of, fleet_site, tls_of
from tests.fleet.linked_client import LinkedClient
from tests.fleet.mortal_controller import STATE, born, clock_ahead
from tests.fleet.mqtt_device import Device
from tests.parts.processes import until
from tests.parts.relay import Relay

pytestmark = pytest.mark.slow
WAIT_S = 60.0
FIRST = [device for device, wave in WAVES.items() if wave == 0]
UNAPPROVED = "trust.approvals"


@dataclass
class Site:
    """A fleet whose devices reach the broker over a road that can be cut.

    Attributes:
        ahead_ms: How far the clock of roll-outs is ahead, milliseconds.
    """

    folder: Path
    home: FleetHome
    road: Relay
    clients: dict[str, LinkedClient]
    dock: Dock
    store: RolloutStore
    ahead_ms: Synchronized[int] = field(default_factory=clock_ahead)

    @contextlib.contextmanager
    def served(self) -> Iterator[BaseProcess]:
        """Run a controller, which knows all devices, until the block ends."""
        process = born(self.home.folder, self.folder / "moments", ahead_ms=self.ahead_ms)
        try:
            self.await_states()
            yield process
        finally:
            process.terminate()
            process.join(WAIT_S)

    def await_states(self) -> None:
        """Wait until the controller has heard the state of every device since this was waited for last."""
        log = self.folder / "moments"

        def heard() -> bool:
            moments = log.read_text().splitlines() if log.exists() else []
            return {f"{STATE}{device}" for device in WAVES} <= set(moments)

        until(heard, WAIT_S, "the controller hears all devices")
        os.truncate(log, 0)

    @contextlib.contextmanager
    def broker_loses_its_database(self) -> Iterator[None]:
        """Kill the broker, and run one in its place that knows nothing, until the block ends."""
        number = int((self.home.folder / BROKER / "mosquitto.pid").read_text())
        kept = self.home.folder / BROKER / MOSQUITTO_STATE / "mosquitto.db"
        os.kill(number, signal.SIGUSR1)  # write it
        until(kept.exists, WAIT_S, "the broker has written its database")
        os.kill(number, signal.SIGKILL)
        kept.unlink()
        before = {name: client.connections for name, client in self.clients.items()}
        self.road.mend()
        with broker_of(self.home, self.folder / LOG, verbose=True):
            for name, client in self.clients.items():
                again = self._is_more(client, before[name])
                until(again, WAIT_S, f"{name} is connected again")
            yield

    def broker_sent(self, device: str) -> bool:
        """Whether the broker put a command for this device on its way."""
        pattern = rf"Sending PUBLISH to {device} .*'vigil/1/d/{device}/cmd'"
        return re.search(pattern, (self.folder / LOG).read_text()) is not None

    def has_ended(self) -> bool:
        """Let the devices live; return whether the roll-out goes on no more."""
        self.dock.live()
        return self.store.rollout(PLAN.name).standing is not Standing.RUNNING

    def claims(self) -> dict[str, int]:
        """How many commands came to each device."""
        return {device.name: len(device.claims) for device in self.dock.devices}

    @staticmethod
    def _is_more(client: LinkedClient, before: int) -> Callable[[], bool]:
        return lambda: client.connections > before


@pytest.fixture
def site(tmp_path: Path, workshop: Path) -> Iterator[Site]:
    with fleet_site(tmp_path, str(workshop / "repo"), verbose=True) as home:
        records = [DeviceRecord(name, "gate", tuple(GROUPS[name]), b"", "0") for name in GROUPS]
        home.registry.put_devices(records)
        home.write_access()
        road, store = Relay(home.config.broker_port), RolloutStore(home.place)
        clients = {
            name: LinkedClient(
                name, BrokerConfig(host="127.0.0.1", port=road.port, tls=tls_of(home, name))
            )
            for name in GROUPS
        }
        dock = dock_of(tmp_path, home.place, road.port, clients, groups=GROUPS, good=True)
        yield Site(tmp_path, home, road, clients, dock, store)
        dock.close()
        road.close()
        store.close()


def test_commands_that_the_broker_lost_are_sent_again_and_obeyed_once(site: Site) -> None:
    with site.served():
        site.road.cut()
        site.dock.begin("grace", plan=PLAN)
        until(lambda: all(map(site.broker_sent, FIRST)), WAIT_S, "the first wave's commands leave")
        os.truncate(site.folder / "moments", 0)
        with site.broker_loses_its_database():
            site.await_states()
            # Nothing is left of the commands, and it is too soon to miss answers.
            site.dock.live()
            assert set(site.claims().values()) == {0}
            assert site.store.counts(PLAN.name)[0, Step.ASKED] == len(FIRST)
            site.ahead_ms.value = 60_000
            until(site.has_ended, WAIT_S, "the roll-out ends")
    assert site.store.rollout(PLAN.name).standing is Standing.DONE
    assert [len(device.obeyed) for device in site.dock.devices] == [1] * len(WAVES)
    assert set(site.claims().values()) == {1}


@pytest.mark.parametrize("approvers", [("grace",), ()])
def test_answers_that_the_broker_lost_while_no_controller_ran_are_learnt(
    site: Site, approvers: tuple[str, ...]
) -> None:
    with site.served() as first:
        site.dock.begin(*approvers, plan=PLAN)
        until(lambda: all(map(site.broker_sent, FIRST)), WAIT_S, "the first wave is asked")
        first.kill()
        first.join()
    for device in site.dock.devices[: len(FIRST)]:
        device.live(WAIT_S)
    os.truncate(site.folder / "moments", 0)
    with site.broker_loses_its_database(), site.served():
        until(site.has_ended, WAIT_S, "the roll-out ends")
    rows = {row.device: (row.step, row.code) for row in site.store.devices(PLAN.name)}
    if approvers:
        assert rows == dict.fromkeys(WAVES, (Step.COMMITTED, ""))
        assert [len(device.obeyed) for device in site.dock.devices] == [1] * len(WAVES)
    else:
        # Nothing but a reply tells of a refusal: these are asked again.
        asked = dict.fromkeys(FIRST, (Step.FAILED, UNAPPROVED))
        assert rows == dict.fromkeys(WAVES, (Step.WAITING, "")) | asked
        assert not site.dock.obeyed


def test_who_is_online_is_seen_to_be_by_everybody_who_looks_afterwards(site: Site) -> None:
    with site.served():
        os.truncate(site.folder / "moments", 0)
        with site.broker_loses_its_database():
            site.await_states()
            # Somebody new knows no more than what the broker keeps.
            watch = Controller(site.home.broker(WATCH), None, name=WATCH)
            watch.start()
            assert watch.inbox.wait_states(list(WAVES), WAIT_S)
            assert all(state.online for state in watch.inbox.states())
            watch.stop()


def test_the_hint_is_there_again_for_who_comes_afterwards(site: Site) -> None:
    hint = ("vigil/1/hint", b'{"v":1,"timestamp_version":1}')
    with site.served(), site.broker_loses_its_database():
        config = site.home.broker(WATCH)
        assert config.tls is not None
        late = Device(config.port, config.tls, WATCH)
        assert late.accepted()
        late.subscribe(hint[0])
        assert late.get()[:2] == hint
        late.subscribe(hint[0])
        assert late.get() == (*hint, True)
        late.close()
