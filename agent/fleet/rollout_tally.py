"""A roll-out's devices counted by wave, kept up to date device by device: asking costs the same for ten and ten thousand. Pure."""

from __future__ import annotations

import bisect
import enum
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field


class Step(str, enum.Enum):
    """Where a device is in a roll-out."""

    WAITING = "waiting"
    ASKED = "asked"
    WORKING = "working"
    COMMITTED = "committed"
    FAILED = "failed"


OPEN = {Step.ASKED, Step.WORKING}


@dataclass(frozen=True)
class Progress:
    """One device of a roll-out.

    Attributes:
        wave: Number of its wave, from 0.
        sent_ms: When it was asked, Unix milliseconds.
        settled_ms: When its end was heard of.
        online: Whether it can be reached now.
        valid: Whether there is a command for it that has not expired.
        unsure: It was written down as asked, and nobody knows whether the command left.
    """

    device: str
    wave: int
    step: Step = Step.WAITING
    sent_ms: int = 0
    settled_ms: int = 0
    online: bool = True
    valid: bool = True
    unsure: bool = False


@dataclass
class WaveTally:
    """The devices of one wave, sorted by where they are; dictionaries stand for sets that keep their order.

    Attributes:
        failed: Said that they failed.
        silent: Were asked longer ago than the plan allows and did not finish, see `age`.
        committed_ms: When those that have the release said so, in order.
        ready: Are to be asked and can be; `offline` and `unsigned` are to be asked and cannot.
    """

    devices: dict[str, Progress] = field(default_factory=dict)
    failed: dict[str, None] = field(default_factory=dict)
    silent: dict[str, None] = field(default_factory=dict)
    committed_ms: list[int] = field(default_factory=list)
    ready: dict[str, None] = field(default_factory=dict)
    offline: dict[str, None] = field(default_factory=dict)
    unsigned: dict[str, None] = field(default_factory=dict)
    _sent: list[tuple[int, str]] = field(default_factory=list)

    def put(self, one: Progress) -> None:
        """Take in where a device is now, in the place of where it was."""
        before = self.devices.get(one.device)
        if before == one:
            return
        if before is not None:
            self._forget(before)
        self.devices[one.device] = one
        if one.step is Step.COMMITTED:
            bisect.insort(self.committed_ms, one.settled_ms)
        elif one.step is Step.FAILED:
            self.failed[one.device] = None
        elif one.step in OPEN:
            heapq.heappush(self._sent, (one.sent_ms, one.device))
        if one.step is Step.WAITING or (one.step is Step.ASKED and one.unsure):
            self._place(one)[one.device] = None

    def age(self, before_ms: int) -> None:
        """Count as silent who was asked before `before_ms` (Unix milliseconds) and has not finished."""
        while self._sent and self._sent[0][0] < before_ms:
            sent_ms, device = heapq.heappop(self._sent)
            one = self.devices[device]
            if one.step in OPEN and one.sent_ms == sent_ms:
                self.silent[device] = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be expected of any of its devices."""
        over = len(self.committed_ms) + len(self.failed) + len(self.silent)
        return over == len(self.devices)

    def _place(self, one: Progress) -> dict[str, None]:
        if not one.valid:
            return self.unsigned
        return self.ready if one.online else self.offline

    def _forget(self, one: Progress) -> None:
        if one.step is Step.COMMITTED:
            del self.committed_ms[bisect.bisect_left(self.committed_ms, one.settled_ms)]
        for place in (self.failed, self.silent, self._place(one)):
            place.pop(one.device, None)


class Tally:
    """All waves of a roll-out, `count` of them, by number from 0."""

    def __init__(self, count: int, devices: Iterable[Progress] = ()) -> None:
        self.waves = [WaveTally() for _ in range(count)]
        for one in devices:
            self.put(one)

    def put(self, one: Progress) -> None:
        """Take in where a device is now; its wave does not change."""
        self.waves[one.wave].put(one)

    def __len__(self) -> int:
        """Return how many devices there are."""
        return sum(len(wave.devices) for wave in self.waves)

    @property
    def committed(self) -> int:
        """How many have the release."""
        return sum(len(wave.committed_ms) for wave in self.waves)
