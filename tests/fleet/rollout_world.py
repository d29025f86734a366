"""The devices and the broker around a roll-out's controller, scripted, and a fuse that kills the controller."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.fleet.inbox import Inbox
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_plan import read_plan
from agent.schema.document import to_json
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


class Death(BaseException):
    """The controller's process dies here."""


@dataclass
class World:
    """The devices and the broker: they outlive the controller. A device takes a command once."""

    good: bool = True
    now_ms: int = START_MS
    connected: bool = True
    offline: set[str] = field(default_factory=set)
    taken: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    inbox: Inbox = field(default_factory=Inbox)

    def send(self, command: SignedCommand) -> None:
        device = command.audience.removeprefix("d/")
        assert device not in self.offline
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
            self._reply(device, ReplyStatus.ACCEPTED)
            self._reply(device, ReplyStatus.SUCCEEDED if self.good else ReplyStatus.FAILED)
        self.tell_states()

    def tell_states(self) -> None:
        for device in WAVES:
            report = None
            if device in self.ended:
                outcome = Outcome.COMMITTED if self.good else Outcome.ROLLED_BACK
                report = UpdateReport(release="people 2.0", path=PATH, outcome=outcome, at_ms=5)
            state = State(v=1, device=device, online=device not in self.offline, last_update=report)
            self._put(device, "state", to_json(state))

    def _reply(self, device: str, status: ReplyStatus) -> None:
        code = "update.rolled_back" if status is ReplyStatus.FAILED else ""
        reply = Reply(
            v=1,
            device=device,
            id=self.taken[device],
            cmd="deploy",
            status=status,
            at_ms=0,
            code=code,
        )
        self._put(device, "reply", to_json(reply))

    def _put(self, device: str, leaf: str, payload: bytes) -> None:
        topic = parse(f"vigil/1/d/{device}/{leaf}", "vigil/1")
        assert topic is not None
        self.inbox.put(topic, payload)


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
