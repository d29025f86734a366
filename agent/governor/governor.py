"""The governor's loop: sense, decide, act, tell.

Rules
- A ladder belongs to one release; when another takes over, it is built anew and begins at its top.
- While an update is on trial or probation the governor rests, so that a release is judged at its best, and
  nothing the governor did is ever held against it.
- Whoever else changed what serves (an update, a restart) is right: the governor starts again from there.
- A move that cannot be carried out leaves the rung as it is, is told, and is not tried again soon.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from agent.errors import VigilError
from agent.governor.decide import refused, step
from agent.governor.ladder import (
    Ladder,
    Rates,
    Rung,
    build_ladder,
    first_of,
    place_of,
    without_variant,
)
from agent.governor.pinning import Pinning
from agent.governor.ports import Setting, Speed, Throttle
from agent.governor.sensing import Board, Senses
from agent.governor.situation import Cause, Limits, Memory, Move, Pace, Situation
from agent.host.clock import monotonic_ns, wall_ms
from agent.models.store import InstalledRelease
from agent.schema.governor import GovernorMove, GovernorReport
from agent.schema.messages import MESSAGE_VERSION

logger = logging.getLogger(__name__)
_EVERY_S = 1.0
_LEAST_FRAMES = 5
_WINDOW_S = 10.0


@dataclass(frozen=True)
class Ports:
    """What the governor asks the other parts.

    Attributes:
        throttle: Runs the model.
        speed: How quick results were in the last so many seconds; None without any.
        costs_ms: Expected milliseconds of each variant of a release, by id.
        held: Why the governor must rest now; empty when it need not.
        on_move: Told of every move.
    """

    throttle: Throttle
    speed: Callable[[float], Speed | None]
    costs_ms: Callable[[InstalledRelease], Mapping[str, float | None]]
    held: Callable[[], str]
    on_move: Callable[[GovernorMove], None]


@dataclass(frozen=True)
class Rules:
    """Limits to keep, the pace of moves, and the rates of the cameras."""

    limits: Limits
    pace: Pace
    rates: Rates


class Governor:
    """Moves on the ladder; `run` does so every second.

    Args:
        device: This device's id, for events.
        ports: The other parts.
        rules: What to keep.
        senses: Looks at the board.
        now_ns: A monotonic clock.
    """

    def __init__(
        self,
        device: str,
        ports: Ports,
        rules: Rules,
        senses: Senses,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._device, self._ports, self._rules, self._senses = device, ports, rules, senses
        self._now_ns = now_ns
        self._release: InstalledRelease | None = None
        self._ladder: Ladder = ()
        self._memory = Memory()
        self._situation = Situation(at_s=0.0)
        self.pinning = Pinning(lambda: self._ladder, now_ns)
        self.reason = ""

    def run(self, stop: threading.Event) -> None:
        """Look once a second until `stop` is set."""
        while not stop.wait(_EVERY_S):
            self.look()

    def look(self) -> None:
        """Sense, decide and act once."""
        setting = self._ports.throttle.setting
        if setting is not None:
            self._adopt(setting)
        self._situation = self._sense(self._senses.look(self._memory.since_s))
        if setting is not None and self._ladder:
            self._decide()

    @property
    def rung(self) -> Rung | None:
        """The present rung; None while nothing serves."""
        ladder, place = self._ladder, self._memory.rung
        return ladder[place] if place < len(ladder) else None

    def report(self) -> GovernorReport | None:
        """Return where the governor stands and what it senses; None while nothing serves."""
        rung, now = self.rung, self._situation
        if rung is None:
            return None
        return GovernorReport(
            rung=rung.name,
            index=self._memory.rung,
            rungs=len(self._ladder),
            p95_ms=_rounded(now.p95_ms),
            queue_ms=_rounded(now.queue_ms),
            temperature_slope_c_min=_rounded(now.slope_c_min),
            memory_pressure=now.memory_pressure,
            throttled=list(now.throttled),
            power_mode=now.power_mode,
        )

    # steps ------------------------------------------------------------------------------------------

    def _adopt(self, setting: Setting) -> None:
        """Take notice of what serves; where that is not what was set, begin anew with it."""
        release, rung = setting.release, self.rung
        is_known = self._release is not None and self._release.ref == release.ref
        if is_known and rung is not None and _is_set(rung, setting):
            return
        costs_ms = self._ports.costs_ms(release)
        self._release = release
        self._ladder = build_ladder(release.here, costs_ms, self._rules.rates)
        place = first_of(release.variant.id, self._ladder)
        self._memory = Memory(place, since_s=self._now_s, power_mode=self._situation.power_mode)
        self.reason = "as the release began"
        logger.info("ladder: %s", ", ".join(rung.name for rung in self._ladder))
        if not _is_set(self._ladder[place], setting):
            self._set_rate(self._ladder[place])

    def _set_rate(self, rung: Rung) -> None:
        try:
            self._ports.throttle.set_rate(rung.max_fps or 0.0)
        except VigilError as error:
            logger.error("rung %s: %s", rung.name, error.diagnostics())
            self._ladder = ()

    def _sense(self, board: Board) -> Situation:
        now_s = self._now_s
        window_s = min(_WINDOW_S, max(0.0, now_s - self._memory.since_s - 1.0))
        speed = self._ports.speed(window_s) if window_s else None
        seen = speed if speed is not None and speed.frames >= _LEAST_FRAMES else None
        return Situation(
            at_s=now_s,
            p95_ms=seen.p95_ms if seen else None,
            work_ms=seen.work_ms if seen else None,
            queue_ms=seen.queue_ms if seen else None,
            temperature_c=board.temperature_c,
            slope_c_min=board.slope_c_min,
            throttled=board.throttled,
            memory_pressure=board.memory_pressure,
            power_mode=board.power_mode,
            held=self._ports.held(),
            pinned=self.pinning.rung,
        )

    def _decide(self) -> None:
        rules, before = self._rules, self._memory
        decision = step(self._ladder, self._situation, before, rules.limits, rules.pace)
        if decision.move is None:
            self._memory = decision.memory
            return
        try:
            self._act(self._ladder[decision.move.origin], self._ladder[decision.move.target])
        except VigilError as error:
            self._give_up(decision.move, before, error)
            return
        # The dwell begins when the move is made, not when it was decided: a switch takes its time.
        self._memory = replace(decision.memory, since_s=self._now_s)
        self._tell(decision.move)

    def _act(self, origin: Rung, target: Rung) -> None:
        max_fps = target.max_fps or 0.0
        if origin.variant == target.variant or self._release is None:
            self._ports.throttle.set_rate(max_fps)
        else:
            self._ports.throttle.switch(self._release.running(target.variant), max_fps)

    def _give_up(self, move: Move, before: Memory, error: VigilError) -> None:
        logger.error("rung %s: %s", self._ladder[move.target].name, error.diagnostics())
        self._memory = refused(self._ladder, before, move, self._now_s, self._rules.pace)
        self.pinning.forget()
        stay = Move(
            move.origin, move.origin, Cause.FAILED, f"{self._ladder[move.target].name}: {error}"
        )
        self._tell(stay)
        if move.target > move.origin and error.code != "model.superseded":
            rung, failed = self._ladder[move.origin], self._ladder[move.target].variant
            self._ladder = without_variant(self._ladder, failed)
            self._memory = replace(self._memory, rung=place_of(rung.name, self._ladder) or 0)

    def _tell(self, move: Move) -> None:
        origin, target = self._ladder[move.origin], self._ladder[move.target]
        self.reason = move.reason
        logger.warning("rung %s -> %s: %s", origin.name, target.name, move.reason)
        event = GovernorMove(
            v=MESSAGE_VERSION,
            device=self._device,
            at_ms=wall_ms(),
            origin=origin.name,
            rung=target.name,
            cause=move.cause.value,
            reason=move.reason,
            figures=dict(move.figures),
        )
        self._ports.on_move(event)

    @property
    def _now_s(self) -> float:
        return self._now_ns() / 1e9


def _is_set(rung: Rung, setting: Setting) -> bool:
    return (rung.variant, rung.max_fps or 0.0) == (setting.release.variant.id, setting.max_fps)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
