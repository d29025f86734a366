"""Controllers, broker, database and devices on hosts of their own, and a network that drops what they say.

Nobody is told: no socket is closed, packets vanish.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen

import msgspec.structs
import pytest
import sqlalchemy as sql

from agent.control.link import Link
from agent.control.link.traffic import Subscription
from agent.errors import InUseError, StorageError
from agent.fleet.access import CONTROLLER, DESK
from agent.fleet.controller import Controller
from agent.fleet.database import Database
from agent.fleet.instance import alone_as
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_plan import Plan, waves_of
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import RolloutStore
from agent.fleet.rollout_tally import Step
from agent.fleet.tables import ROLLOUT_DEVICES
from agent.host.disk import REAL_DISK
from agent.schema.blocks import BLOCK_BYTES
from agent.schema.messages import Progress
from agent.schema.topics import DeviceTopics
from agent.update.fetch import fetch_file
from agent.update.sources.blocks import BlockSource
from agent.update.sources.failover import FailoverSource
from tests.fleet.asking import ask, join
from tests.fleet.dock import GROUPS, NAMES, PLAN, Dock
from tests.fleet.fleet_site import tls_of
from tests.fleet.parted_site import ASKER, Site, parted_site
from tests.fleet.rollout_world import PLAN as OTHER_PLAN
from tests.fleet.rollout_world import START_MS, begun, signed
from tests.parts.block_desk import published
from tests.parts.processes import until

pytestmark = pytest.mark.slow
POSTGRESQL = 5432
DATA = os.urandom(48 * BLOCK_BYTES - 777)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def site(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(workshop / "repo", folder / "repo")
    with parted_site(folder) as made:
        yield made


@pytest.fixture(autouse=True)
def healed(site: Site) -> Iterator[None]:
    site.forget()
    yield
    site.network.heal()


@dataclass
class Watch:
    """Lets a roll-out's devices live, and looks that none is asked before the waves before its own have the release."""

    dock: Dock
    store: RolloutStore
    plan: Plan = PLAN

    def ended(self) -> bool:
        """Whether the roll-out is done."""
        waves = waves_of(self.plan, GROUPS)
        for device in self.dock.devices:
            before = len(device.obeyed)
            device.live()
            if len(device.obeyed) > before:
                late = [
                    one.name
                    for one in self.dock.devices
                    if waves[one.name] < waves[device.name] and len(one.obeyed) <= before
                ]
                assert not late, f"{device.name} was asked before {late}"
        return self.store.rollout(self.plan.name).standing is Standing.DONE

    def obeyed(self) -> list[int]:
        """How often each device carried out a command."""
        return [len(device.obeyed) for device in self.dock.devices]


@contextlib.contextmanager
def stopped(process: Popen[str]) -> Iterator[None]:
    """Freeze a process until the block ends."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_controller_that_is_cut_off_in_a_roll_out_is_replaced_and_serves_again_by_itself(
    site: Site, tmp_path: Path
) -> None:
    port, store = site.home.config.broker_port, RolloutStore(site.home.place)
    watch = Watch(site.dock(tmp_path), store)
    with stopped(site.second):
        # It writes the first wave down as asked, and sends its commands to nowhere.
        site.network.cut("first", "centre", port)
        watch.dock.begin("grace")
        # It says what it waits for in the second after, so both commands have left.
        until(lambda: "0 of the 2" in store.rollout(PLAN.name).reason, WAIT_S, "it asks")
        assert store.counts(PLAN.name)[0, Step.ASKED] == 2
        site.network.cut("first", "centre")
    until(watch.ended, WAIT_S, "the other finishes the roll-out")
    assert watch.obeyed() == [1] * len(NAMES)
    assert site.sent("cmd") == 0
    assert site.first.poll() is None

    dropped = r"Client controller-1 .*exceeded timeout"
    until(lambda: site.broker_says(dropped), WAIT_S, "the broker gives its share to the other")
    until(lambda: site.first_says("broker connection lost"), WAIT_S, "it knows of the broker")
    until(lambda: site.first_says("roll-outs stand still"), WAIT_S, "it knows of the database")
    site.network.heal()
    assert_serves(site)

    # What it sent to nowhere comes now; devices have done it, and are asked nothing else.
    until(lambda: watch.ended() and site.sent("cmd") == 2, WAIT_S, "it comes late")
    until(lambda: watch.ended() and refused(watch.dock) == 2, WAIT_S, "it is refused")
    assert watch.obeyed() == [1] * len(NAMES)
    assert store.counts(PLAN.name).keys() == {(wave, Step.COMMITTED) for wave in range(3)}

    again = replace(watch, plan=msgspec.structs.replace(PLAN, name="people-3"))
    with stopped(site.second):
        again.dock.begin("grace", plan=again.plan)
        until(again.ended, WAIT_S, "it carries the next roll-out out alone")
    assert again.obeyed() == [2] * len(NAMES)
    again.dock.close()
    store.close()


def refused(dock: Dock) -> int:
    return sum(len(device.refused) for device in dock.devices)


def assert_serves(site: Site) -> None:
    """The first controller answers requests again, and those that need the database."""
    blocks, keys = site.sent("blk/rsp"), site.sent("key/rsp")
    device = join(site.home, ASKER)

    def answers() -> bool:
        list(ask(ASKER, device))
        return site.sent("blk/rsp") > blocks and site.sent("key/rsp") > keys

    until(answers, WAIT_S, "it serves again", every_s=1.0)
    device.close()


def test_nothing_of_qos_1_is_lost_while_the_broker_is_cut_off_from_the_controller(
    site: Site, tmp_path: Path
) -> None:
    broker = msgspec.structs.replace(site.home.broker(CONTROLLER), keepalive_s=2)
    with site.network.inside("first"):
        controller = Controller(broker, None, session=tmp_path / "session", name=CONTROLLER)
        controller.start()
    device = join(site.home, ASKER)
    device.subscribe(f"vigil/1/d/{ASKER}/cmd")
    site.network.cut("first", "centre")
    # More than the broker has on its way to one client.
    told = [f"told-{number}" for number in range(300)]
    for one in told[:150]:
        device.reply(one, "stop")
    controller.send(SignedCommand("c", f"d/{ASKER}", b"while nobody knew"))
    until(lambda: not controller.connected, WAIT_S, "the controller notices")
    until(
        lambda: site.broker_says(r"Client controller .*exceeded timeout"), WAIT_S, "and the broker"
    )
    for one in told[150:]:
        device.reply(one, "stop")
    controller.send(SignedCommand("d", f"d/{ASKER}", b"while both knew"))
    site.network.heal()
    until(lambda: all(map(controller.inbox.replies, told)), WAIT_S, "all is heard")
    assert {device.get()[1], device.get()[1]} == {b"while nobody knew", b"while both knew"}
    controller.stop()
    device.close()


def test_a_device_that_is_cut_off_in_a_transfer_goes_on_and_gets_the_command_once(
    site: Site, tmp_path: Path
) -> None:
    name, home = ASKER, site.home
    topics, config = DeviceTopics(name), home.config
    target = published(home.repository / "public", DATA)
    broker = msgspec.structs.replace(home.broker(CONTROLLER), tls=tls_of(home, name), keepalive_s=2)
    desk, commands = Controller(home.broker(DESK), None, name, name=DESK), list[bytes]()
    desk.start()
    positions: list[int] = []

    def told(progress: Progress) -> None:
        positions.append(progress.done)
        if len(positions) == 20:
            site.network.cut("far", "centre", config.broker_port)
            desk.send(SignedCommand("c", f"d/{name}", b"stop"))
            until(lambda: not link.connected, WAIT_S, "the device notices")
            site.network.heal()

    with site.network.inside("far"):
        link = Link(broker, topics)
        link.subscribe(Subscription(topics.command, lambda one: commands.append(one.payload)))
        link.start()
    source = FailoverSource([BlockSource(link.channel("blk"))])
    fetch_file(source, target, tmp_path / "part", tmp_path / "blob", REAL_DISK, told)
    assert (tmp_path / "blob").read_bytes() == DATA
    assert (link.reconnects, positions) == (1, sorted(set(positions)))
    until(lambda: commands, WAIT_S, "the command comes")
    link.stop()
    desk.stop()
    assert commands == [b"stop"]


def test_what_a_controller_without_the_database_holds_there_is_free_again_and_so_is_its_name(
    site: Site, tmp_path: Path
) -> None:
    url = site.server.database()
    store = begun(f"{url}&options=-c%20lock_timeout%3D40000", signed(tmp_path))
    row = store.devices(OTHER_PLAN.name)[0]
    with site.network.inside("first"):
        cut_off = Database(url)
    claimed = []
    # The server gives up whom it does not hear, and we do not wait for a quarter of an hour, either.
    with pytest.raises(StorageError), cut_off.transaction() as connection:  # noqa: PT012 - all of it is one
        connection.execute(sql.update(ROLLOUT_DEVICES).values(code="held"))
        site.network.cut("first", "centre", POSTGRESQL)
        claimed.append(store.claim(OTHER_PLAN.name, row, START_MS, 0))
        connection.execute(sql.select(1))
    assert claimed == [True]
    until(lambda: site.first_says("the name controller-1 is not held"), WAIT_S, "it notices")

    def taken() -> bool:
        with contextlib.suppress(InUseError):
            stack.enter_context(alone_as("controller-1", tmp_path, site.home.place))
            return True
        return False

    with contextlib.ExitStack() as stack:
        until(taken, WAIT_S, "another machine may have its name", every_s=0.5)
        site.network.heal()
        with site.network.inside("first"):
            assert cut_off.rows(sql.select(sql.literal(1))) == [{"anon_1": 1}]
        assert site.first.wait(WAIT_S) == 75
    assert site.first_says("a controller runs already under the name controller-1")
    cut_off.close()
    store.close()
