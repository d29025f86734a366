"""Devices, eight in the group `dock` unless told otherwise, that judge every command as real ones do, and a roll-out that is signed for them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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
from agent.fleet.rollout_plan import Plan, read_plan, waves_of
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.host.clock import wall_ms
from agent.release.signers import generate, load_signer
from agent.schema.commands import recommended_rules
from agent.schema.config import TlsConfig
from agent.schema.document import to_json
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import (
    Outcome,
    Policy,
    PolicyUser,
    Reply,
    ReplyStatus,
    Role,
    State,
    UpdateReport,
)
from agent.trust.policy import Situation, authorise
from tests.fleet.mqtt_device import Device

ROLLED_BACK = "update.rolled_back"
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
GROUPS = {f"dock-{number}": frozenset({"dock"}) for number in range(8)}
NAMES = list(GROUPS)


class Client(Protocol):
    """How a device speaks with the broker; what comes is in `inbox` with its topic and whether it was retained."""

    inbox: queue.Queue[tuple[str, bytes, bool]]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Say something until the broker has it."""

    def close(self) -> None:
        """Say goodbye."""


@dataclass
class LightDevice:
    """An MQTT client that judges commands by the policy, and then says how the release was.

    Attributes:
        claims: What every message that came claims to be, in order: ids of commands.
        obeyed: Ids of commands that it carried out; `refused`: codes of those that it did not.
    """

    name: str
    policy: Policy
    client: Client
    good: bool
    claims: list[str] = field(default_factory=list)
    obeyed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def live(self, patience_s: float = 0.02) -> None:
        """Answer one command, where one comes in time."""
        try:
            _, envelope, _ = self.client.inbox.get(timeout=patience_s)
        except queue.Empty:
            return
        claim = claimed(envelope)[0]
        self.claims.append(claim)
        try:
            body = authorise(envelope, self.policy, self._situation()).body
        except TrustError as error:
            self.refused.append(error.code)
            # As on a real device, a repeated command does not speak for the one that was obeyed.
            self._reply("" if claim in self.obeyed else claim, ReplyStatus.FAILED, error.code)
            return
        self.obeyed.append(body.id)
        self._reply(body.id, ReplyStatus.ACCEPTED)
        if self.good:
            self._reply(body.id, ReplyStatus.SUCCEEDED)
            self.say_online(Outcome.COMMITTED)
        else:
            self._reply(body.id, ReplyStatus.FAILED, ROLLED_BACK)
            self.say_online(Outcome.ROLLED_BACK, ROLLED_BACK)

    def say_online(self, outcome: Outcome | None = None, code: str = "") -> None:
        """Say the retained state, with how the last update ended where there was one."""
        report = None
        if outcome is not None:
            report = UpdateReport(
                release="people 2.0",
                path=RELEASE.path,
                outcome=outcome,
                code=code,
                at_ms=wall_ms(),
            )
        state = State(v=1, device=self.name, online=True, policy_ver=1, last_update=report)
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


@dataclass
class Dock:
    """The devices, and the people's keys.

    Attributes:
        folder: For keys, commands and counters.
        database: Of the controller.
        port: Of the broker.
        groups: Of every device.
    """

    folder: Path
    database: Path | str
    port: int
    devices: list[LightDevice]
    groups: Mapping[str, frozenset[str]]

    @property
    def obeyed(self) -> set[str]:
        return {device.name for device in self.devices if device.obeyed}

    def begin(self, *approvers: str, plan: Plan = PLAN) -> None:
        """Sign with ada, let others approve, and write the roll-out down."""
        people, folder = self.folder / "people", self.folder / f"commands-{plan.name}"
        desk = CommandDesk(self.folder / "counters.json")
        waves = waves_of(plan, self.groups)
        approval = Approval("ada", [load_signer(people / "ada.key")], 1, 3600)
        sign_commands(folder, desk, RELEASE, list(waves), approval)
        for approver in approvers:
            approve_commands(read_commands(folder), load_signer(people / f"{approver}.key"))
        commands = for_devices(
            read_commands(folder), RELEASE.path, RELEASE.sha256, list(waves), wall_ms() // 1000
        )
        store = RolloutStore(self.database)
        rollout = Rollout(
            plan.name, plan, RELEASE.path, RELEASE.sha256, Standing.RUNNING, "", wall_ms()
        )
        store.create(rollout, waves, commands)
        store.close()

    def live(self) -> None:
        """Let every device answer one command, where one waits."""
        for device in self.devices:
            device.live()

    def close(self) -> None:
        for device in self.devices:
            device.client.close()


def opened_dock(
    folder: Path,
    database: Path | str,
    port: int,
    tls: Callable[[str], TlsConfig],
    *,
    groups: Mapping[str, frozenset[str]] = GROUPS,
    good: bool = False,
    host: str = "127.0.0.1",
) -> Dock:
    """Connect the devices, which are registered already, to the broker; all are online."""
    clients = {name: Device(port, tls(name), client_id=name, host=host) for name in groups}
    for name, client in clients.items():
        assert client.accepted()
        client.subscribe(f"vigil/1/d/{name}/cmd")
    return dock_of(folder, database, port, clients, groups=groups, good=good)


def dock_of(
    folder: Path,
    database: Path | str,
    port: int,
    clients: Mapping[str, Client],
    *,
    groups: Mapping[str, frozenset[str]],
    good: bool,
) -> Dock:
    """Let the devices of these clients, which are connected or will be, say that they are online."""
    policy = _policy(folder)
    devices = [LightDevice(name, policy, client, good=good) for name, client in clients.items()]
    for device in devices:
        device.say_online()
    return Dock(folder, database, port, devices, groups)


def _policy(folder: Path) -> Policy:
    users = []
    for name in ("ada", "grace"):
        generate(folder / "people", name)
        pem = (folder / f"people/{name}.pub").read_text()
        users.append(PolicyUser(name=name, role=Role.ADMIN, keys=[pem]))
    return Policy(schema=1, version=1, users=users, commands=recommended_rules())
