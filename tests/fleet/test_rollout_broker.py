"""A roll-out over a real broker, to devices that judge every command as real ones do."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.control.commander import claimed
from agent.errors import TrustError
from agent.fleet.operators import CommandDesk
from agent.fleet.rollout_commands import (
    Approval,
    approve_commands,
    for_devices,
    read_commands,
    sign_commands,
)
from agent.fleet.rollout_plan import read_plan, waves_of
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import carrying_out
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.host.clock import wall_ms
from agent.release.signers import generate, load_signer
from agent.schema.commands import recommended_rules
from agent.schema.document import to_json
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Policy, PolicyUser, Reply, ReplyStatus, Role, State
from agent.trust.policy import Situation, authorise
from tests.fleet.conftest import Fleet
from tests.fleet.mqtt_device import Device
from tests.parts.processes import until

RELEASE = ReleaseRef(path="models/gate/people/2.0/manifest.json", sha256="cd" * 32)
PLAN = read_plan(
    """
schema: 1
name: people-2
release: gate/people/2.0
groups: [dock]
waves: [{percent: 25}, {percent: 50}, {percent: 100}]
success_percent: 100
max_failed_percent: 0
soak_s: 0
""",
    "plan.yaml",
)
NAMES = [f"dock-{number}" for number in range(8)]


@dataclass
class LightDevice:
    """An MQTT client that judges commands by the policy, and then says how the release was."""

    name: str
    policy: Policy
    client: Device
    good: bool
    obeyed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def live(self) -> None:
        try:
            _, envelope, _ = self.client.inbox.get(timeout=0.02)
        except queue.Empty:
            return
        try:
            body = authorise(envelope, self.policy, self._situation()).body
        except TrustError as error:
            self.refused.append(error.code)
            self._reply(claimed(envelope)[0], ReplyStatus.FAILED, error.code)
            return
        self.obeyed.append(body.id)
        self._reply(body.id, ReplyStatus.ACCEPTED)
        if self.good:
            self._reply(body.id, ReplyStatus.SUCCEEDED)
        else:
            self._reply(body.id, ReplyStatus.FAILED, "update.rolled_back")

    def say_online(self) -> None:
        state = State(v=1, device=self.name, online=True, policy_ver=1)
        self.client.publish(f"vigil/1/d/{self.name}/state", to_json(state), retain=True)

    def _situation(self) -> Situation:
        return Situation(
            device=self.name,
            groups=frozenset({"dock"}),
            now_s=wall_ms() // 1000,
            last_counter=lambda _: 0,
            seen=lambda command: command in self.obeyed,
        )

    def _reply(self, command: str, status: ReplyStatus, code: str = "") -> None:
        reply = Reply(
            v=1,
            device=self.name,
            id=command,
            cmd="deploy",
            status=status,
            at_ms=wall_ms(),
            code=code,
        )
        self.client.publish(f"vigil/1/d/{self.name}/reply", to_json(reply))


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    users = []
    for name in ("ada", "grace"):
        generate(tmp_path / "people", name)
        pem = (tmp_path / f"people/{name}.pub").read_text()
        users.append(PolicyUser(name=name, role=Role.ADMIN, keys=[pem]))
    return Policy(schema=1, version=1, users=users, commands=recommended_rules())


@pytest.fixture
def dock(fleet: Fleet, policy: Policy, request: pytest.FixtureRequest) -> Iterator[Dock]:
    """Eight devices in the group `dock` on a real mosquitto, all online."""
    for name in NAMES:
        fleet.register(name, "gate", "dock")
    port: int = request.getfixturevalue("mosquitto")
    devices = []
    for name in NAMES:
        client = Device(port, fleet.tls(name), client_id=name)
        assert client.accepted()
        client.subscribe(f"vigil/1/d/{name}/cmd")
        devices.append(LightDevice(name, policy, client, good=False))
        devices[-1].say_online()
    yield Dock(fleet, port, devices)
    for device in devices:
        device.client.close()


@dataclass
class Dock:
    fleet: Fleet
    port: int
    devices: list[LightDevice]

    @property
    def database(self) -> Path:
        return self.fleet.folder / "fleet.db"

    @property
    def obeyed(self) -> set[str]:
        return {device.name for device in self.devices if device.obeyed}

    def begin(self, *approvers: str) -> None:
        """Sign with ada, let others approve, and write the roll-out down."""
        people, folder = self.fleet.folder / "people", self.fleet.folder / "commands"
        desk = CommandDesk(self.fleet.folder / "counters.json")
        waves = waves_of(PLAN, groups())
        approval = Approval("ada", [load_signer(people / "ada.key")], 1, 3600)
        sign_commands(folder, desk, RELEASE, list(waves), approval)
        for approver in approvers:
            approve_commands(read_commands(folder), load_signer(people / f"{approver}.key"))
        commands = for_devices(
            read_commands(folder), RELEASE.path, RELEASE.sha256, NAMES, wall_ms() // 1000
        )
        store = RolloutStore(self.database)
        rollout = Rollout(
            PLAN.name, PLAN, RELEASE.path, RELEASE.sha256, Standing.RUNNING, "", wall_ms()
        )
        store.create(rollout, waves, commands)
        store.close()

    def carry_out(self, wanted: Standing) -> None:
        """Let a controller work, and the devices live, until the roll-out stands as wanted."""
        controller = self.fleet.controller(self.port)
        store = RolloutStore(self.database)
        controller.start()
        try:
            with carrying_out(self.database, controller):
                until(lambda: self._live(store) is wanted, 40.0, f"it is {wanted.value}")
        finally:
            controller.stop()
            store.close()

    def _live(self, store: RolloutStore) -> Standing:
        for device in self.devices:
            device.live()
        return store.rollout(PLAN.name).standing


def test_a_bad_release_halts_at_the_first_wave_with_exactly_its_devices(dock: Dock) -> None:
    dock.begin("grace")
    dock.carry_out(Standing.HALTED)
    first = {name for name, wave in waves_of(PLAN, groups()).items() if wave == 0}
    assert len(first) == 2
    assert dock.obeyed == first
    # A controller that is started again has nothing more to send.
    assert all(device.client.silent(0.05) for device in dock.devices)


def test_a_good_release_reaches_every_device_once(dock: Dock) -> None:
    for device in dock.devices:
        device.good = True
    dock.begin("grace")
    dock.carry_out(Standing.DONE)
    assert dock.obeyed == set(NAMES)
    assert [len(device.obeyed) for device in dock.devices] == [1] * 8


def test_commands_that_one_person_signed_are_obeyed_by_nobody(dock: Dock) -> None:
    dock.begin()
    dock.carry_out(Standing.HALTED)
    assert not dock.obeyed
    assert [device.refused for device in dock.devices if device.refused] == [
        ["trust.approvals"]
    ] * 2


def groups() -> dict[str, frozenset[str]]:
    return {name: frozenset({"dock"}) for name in NAMES}
