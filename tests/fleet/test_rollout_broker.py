"""A roll-out over a real broker, to devices that judge every command as real ones do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.fleet.rollout_plan import waves_of
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import carrying_out
from agent.fleet.rollout_store import RolloutStore
from tests.fleet.conftest import Fleet
from tests.fleet.dock import NAMES, PLAN, Dock, opened_dock
from tests.parts.processes import until


@pytest.fixture
def dock(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Dock]:
    for name in NAMES:
        fleet.register(name, "gate", "dock")
    port: int = request.getfixturevalue("mosquitto")  # which is told of them when it starts
    made = opened_dock(fleet.folder, fleet.folder / "fleet.db", port, fleet.tls)
    yield made
    made.close()


def carry_out(fleet: Fleet, dock: Dock, wanted: Standing) -> None:
    """Let a controller work, and the devices live, until the roll-out stands as wanted."""
    controller = fleet.controller(dock.port)
    store = RolloutStore(dock.database)

    def lived() -> bool:
        dock.live()
        asked = {row.device for row in store.devices(PLAN.name) if row.sends}
        heard = {device.name for device in dock.devices if device.claims}
        return asked <= heard and store.rollout(PLAN.name).standing is wanted

    try:
        with carrying_out(dock.database, controller):
            controller.start()
            until(lived, 40.0, f"it is {wanted.value}, and all who were asked have heard it")
    finally:
        controller.stop()
        store.close()


def test_a_bad_release_halts_at_the_first_wave_with_exactly_its_devices(
    fleet: Fleet, dock: Dock
) -> None:
    dock.begin("grace")
    carry_out(fleet, dock, Standing.HALTED)
    first = {name for name, wave in waves_of(PLAN, dock.groups).items() if wave == 0}
    assert len(first) == 2
    assert dock.obeyed == first
    # A controller that is started again has nothing more to send.
    for device in dock.devices:
        device.live(0.05)
        assert len(device.claims) == (device.name in first)


def test_a_good_release_reaches_every_device_once(fleet: Fleet, dock: Dock) -> None:
    for device in dock.devices:
        device.good = True
    dock.begin("grace")
    carry_out(fleet, dock, Standing.DONE)
    assert dock.obeyed == set(NAMES)
    assert [len(device.obeyed) for device in dock.devices] == [1] * 8


def test_commands_that_one_person_signed_are_obeyed_by_nobody(fleet: Fleet, dock: Dock) -> None:
    dock.begin()
    carry_out(fleet, dock, Standing.HALTED)
    assert not dock.obeyed
    assert [device.refused for device in dock.devices if device.refused] == [
        ["trust.approvals"]
    ] * 2
