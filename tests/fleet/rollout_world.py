"""The devices and the broker around a roll-out's controller, scripted, and a fuse that kills the controller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from agent.fleet.inbox import Inbox
from agent.fleet.operators import CommandDesk, SignedCommand, deploy_order
from agent.fleet.registry import Registry
from agent.fleet.rollout_plan import read_plan
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.schema.document import to_json
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Outcome, Reply, ReplyStatus, State, UpdateReport
from agent.schema.topics import parse

PATH = "models/gate/people/2.0/manifest.json"
SHA256 = "ab" * 32
WAVES = {"cam-1": 0, "cam-2": 1, "cam-3": 1, "cam-4": 1}
START_MS = time.time_ns() // 1_000_000
PLAN = read_plan(
    """
schema: 1
name: people-2
release: gate/people/2.0
waves: [{percent: 25}, {percent: 100}]
success_percent: 100
max_failed_percent: 0
soak_s: 60
answer_within_s: 600
""",
    "plan.yaml",
)


def signed(folder: Path) -> dict[str, SignedCommand]:
    """Return the roll-out's command for each device; `folder` keeps the signer's counters."""
    signer, desk = CryptoSigner.generate_ed25519(), CommandDesk(folder / "counters.json")
    release = ReleaseRef(path=PATH, sha256=SHA256)
    return {
        device: desk.issue(deploy_order(release, f"d/{device}"), "ada", [signer], 0, 24 * 3600)
        for device in WAVES
    }


def begun(place: Path | str, commands: Mapping[str, SignedCommand]) -> RolloutStore:
    """Write the roll-out down as running, with these commands."""
    store = RolloutStore(place)
    rollout = Rollout(PLAN.name, PLAN, PATH, SHA256, Standing.RUNNING, "", START_MS)
    store.create(rollout, WAVES, commands)
    return store


class Death(BaseException):
    """The controller's process dies here."""


@dataclass
class World:
    """The devices and the broker: they outlive the controller. A device takes a command once.

    Attributes:
        clock_ms: What every device believes the time is.
        forgetful: The broker acknowledges commands and loses them.
        sent: To whom commands were sent, in order.
        acknowledged: Whose replies the broker need not keep any more, in order.
    """

    good: bool = True
    now_ms: int = START_MS
    clock_ms: int = 5
    connected: bool = True
    forgetful: bool = False
    offline: set[str] = field(default_factory=set)
    sent: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    inbox: Inbox = field(default_factory=Inbox)

    def runner(self, store: RolloutStore) -> RolloutRunner:
        """Return a controller's runner of the store's roll-outs among these devices."""
        return RolloutRunner(store, self, lambda: self.now_ms)

    def send(self, command: SignedCommand) -> None:
        device = command.audience.removeprefix("d/")
        assert device not in self.offline
        self.sent.append(device)
        if not self.forgetful:
            self.taken.setdefault(device, command.id)

    def restart(self) -> None:
        """A new controller hears what the broker retained: states, and no reply."""
        self.inbox = Inbox()
        self.tell_states()

    def live(self) -> None:
        """Half a minute passes: devices finish what they took, and say so once."""
        self.now_ms += 30_000
        for device in self.taken.keys() - self.ended.keys():
            self.ended[device] = "done"
            self.say_reply(device, ReplyStatus.ACCEPTED)
            self.say_reply(device, ReplyStatus.SUCCEEDED if self.good else ReplyStatus.FAILED)
        self.tell_states()

    def tell_states(self) -> None:
        outcome = Outcome.COMMITTED if self.good else Outcome.ROLLED_BACK
        report = UpdateReport(release="people 2.0", path=PATH, outcome=outcome, at_ms=self.clock_ms)
        for device in WAVES:
            self.say_state(device, report if device in self.ended else None)

    def say_state(self, device: str, report: UpdateReport | None) -> None:
        online = device not in self.offline
        state = State(v=1, device=device, online=online, at_ms=self.clock_ms, last_update=report)
        self._put(device, "state", to_json(state))

    def say_reply(self, device: str, status: ReplyStatus, command: str = "") -> None:
        code = "update.rolled_back" if status is ReplyStatus.FAILED else ""
        reply = Reply(
            v=1,
            device=device,
            id=command or self.taken[device],
            cmd="deploy",
            status=status,
            at_ms=self.clock_ms,
            code=code,
        )
        self._put(device, "reply", to_json(reply))

    def say_forged(self, leaf: str, device: str, forged: Mapping[str, Any]) -> None:
        """Say a state with the roll-out's release, or a failed reply, with these values in it."""
        said: dict[str, Any] = {"v": 1, "device": device, "at_ms": self.clock_ms}
        update = {"release": "people 2.0", "path": PATH, "outcome": "rolled_back", "at_ms": 9}
        if leaf == "state":
            said |= {"online": True, "last_update": update | forged.get("last_update", {})}
        else:
            said |= {"id": self.taken[device], "cmd": "deploy", "status": "failed"}
        others = {name: value for name, value in forged.items() if name != "last_update"}
        self._put(device, leaf, json.dumps(said | others).encode())

    def _put(self, device: str, leaf: str, payload: bytes) -> None:
        topic = parse(f"vigil/1/d/{device}/{leaf}", "vigil/1")
        assert topic is not None
        self.inbox.put(topic, payload, lambda: self._acknowledged(device, leaf))

    def _acknowledged(self, device: str, leaf: str) -> None:
        if leaf == "reply":
            self.acknowledged.append(device)


def registries_at_once(url: str, controllers: int) -> list[Registry]:
    """Open a registry for each of several controllers, all at the same time."""
    with ThreadPoolExecutor(controllers) as pool:
        return list(pool.map(Registry, [url] * controllers))


def claimed_at_once(stores: Sequence[RolloutStore]) -> list[str]:
    """Let the controllers of `stores` claim each device of `PLAN` at the same time; return the device of each claim won."""
    rows = stores[0].devices(PLAN.name)

    def claim(store: RolloutStore) -> list[str]:
        return [row.device for row in rows if store.claim(PLAN.name, row, START_MS, 0)]

    with ThreadPoolExecutor(len(stores)) as pool:
        return [device for devices in pool.map(claim, stores) for device in devices]


class Fuse:
    """Dies at the n-th dangerous moment: just before or after a write or a sending."""

    def __init__(self, moments: int) -> None:
        self.left = moments

    def around(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def burning(*args: Any) -> Any:
            self.burn()
            result = action(*args)
            self.burn()
            return result

        return burning

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Death
