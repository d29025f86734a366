"""Several controllers as processes on one broker and one database: they share the work, and one that dies costs nothing."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from agent.fleet.access import CONTROLLER
from agent.fleet.home import FLEET_SCHEMA, FleetConfig, FleetHome, create_home
from agent.fleet.instance import alone_as
from agent.fleet.registry import DeviceRecord
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import RolloutStore
from agent.host.ports import free_port
from agent.trust.keys import FileKey
from tests.fleet.asking import ANSWERS, RELEASE, ask, identity, join
from tests.fleet.dock import NAMES, PLAN, Dock, opened_dock
from tests.fleet.fleet_site import LOG, fleet_site, sent, tls_of
from tests.fleet.old_database import execute, set_version
from tests.parts.processes import served, until, vigil

INSTANCES = ("controller-1", "controller-2")


@dataclass
class Pair:
    """Two controllers of one fleet, started at once over tables of the version before.

    Attributes:
        said: What each printed when it started.
    """

    home: FleetHome
    log: Path
    controllers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def sent(self, leaf: str) -> Counter[str]:
        return sent(self.log, leaf)


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, workshop: Path, tmp_path: Path) -> Iterator[Pair]:
    database = ""
    if request.param == "postgresql":
        database = request.getfixturevalue("server").database()
    repository, port = str(workshop / "repo"), free_port()
    with fleet_site(tmp_path, repository, database=database, enrol_port=port, verbose=True) as home:
        key = FileKey.create(tmp_path / "grant.key").public_bytes
        records = [DeviceRecord(name, "gate", ("dock",), key, "0") for name in NAMES]
        home.registry.put_devices(records)
        home.registry.put_release_key(RELEASE, bytes(range(32)))
        for name in INSTANCES:
            home.appoint(name)
        home.write_access()
        execute(home.place, "DROP TABLE rollout_moves")
        set_version(home.place, "0001")
        made = Pair(home, tmp_path / LOG)
        with contextlib.ExitStack() as stack:
            for name in INSTANCES:
                served_by = served(home.folder, "--instance", name[-1])
                made.controllers[name], said = stack.enter_context(served_by)
                made.said.append(said)
            yield made


def test_requests_are_divided_and_each_is_answered_once(pair: Pair) -> None:
    assert ["upgraded from 0001" in said for said in pair.said] == [True, False]
    devices = {name: join(pair.home, name) for name in NAMES}
    asked = Counter(one for name, device in devices.items() for one in ask(name, device))
    answered: Counter[str] = Counter()

    def all_answered() -> bool:
        for device in devices.values():
            while not device.inbox.empty():
                answered[identity(*device.get()[:2])] += 1
        return answered.keys() == asked.keys()

    until(all_answered, 30.0, "every request is answered")
    assert devices[NAMES[0]].silent(1.0)
    all_answered()
    assert answered == asked
    for leaf in ANSWERS:
        sent = pair.sent(leaf)
        assert set(sent) == set(INSTANCES), leaf
        assert sum(sent.values()) == sum(one.startswith(leaf) for one in asked)
    for device in devices.values():
        device.close()


def test_one_is_killed_in_the_middle_of_a_roll_out_and_the_other_finishes_it(
    pair: Pair, tmp_path: Path
) -> None:
    home = pair.home
    port, place = home.config.broker_port, home.place
    dock = opened_dock(tmp_path, place, port, lambda name: tls_of(home, name), good=True)
    dock.begin("grace")
    store = RolloutStore(place)
    until(lambda: pair.sent("cmd"), 30.0, "the first wave is asked")
    # Both may have sent some of the wave by now.
    first = next(iter(pair.sent("cmd")))
    pair.controllers[first].kill()
    pair.controllers[first].wait(30)
    until(lambda: finished(dock, store), 60.0, "the other finishes the roll-out")
    assert [len(device.obeyed) for device in dock.devices] == [1] * len(NAMES)
    [other] = set(INSTANCES) - {first}
    assert pair.sent("cmd")[other] >= len(NAMES) - pair.sent("cmd")[first]
    # One of its names is used again, and two with one name would throw each other out.
    dock.close()
    assert_served_by_the_one_that_is_left(pair)
    address = f"https://127.0.0.1:{home.config.enrol_port}/ca"
    trusted = ssl.create_default_context(cadata=home.authority.ca_pem.decode())
    assert httpx.get(address, verify=trusted, timeout=30).content == home.authority.ca_pem
    store.close()


def finished(dock: Dock, store: RolloutStore) -> bool:
    dock.live()
    return store.rollout(PLAN.name).standing is Standing.DONE


def assert_served_by_the_one_that_is_left(pair: Pair) -> None:
    name = NAMES[0]
    device = join(pair.home, name)
    asked = set(ask(name, device))
    until(lambda: device.inbox.qsize() >= len(asked), 30.0, "no request went to the dead one")
    assert {identity(*device.get()[:2]) for _ in asked} == asked
    device.close()


def test_a_second_controller_without_a_number_is_told_what_to_do(tmp_path: Path) -> None:
    config = FleetConfig(
        schema=FLEET_SCHEMA, broker_host="127.0.0.1", broker_port=1, repository="../public"
    )
    home = create_home(tmp_path, config)
    home.registry.close()
    with alone_as(CONTROLLER, tmp_path / CONTROLLER, home.place):
        second = vigil("fleet", "serve", str(tmp_path))
    assert second.returncode == 75
    assert "--instance 1" in second.stderr
    assert "Traceback" not in second.stderr
