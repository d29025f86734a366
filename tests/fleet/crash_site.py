"""A fleet of three whose controller is killed in the middle of a roll-out, at a moment that is chosen, and started again."""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from msgspec.structs import replace

from agent.fleet.history import history
from agent.fleet.home import FleetHome
from agent.fleet.registry import DeviceRecord
from agent.fleet.rollout_plan import Plan, read_plan
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import Rollout, RolloutStore, Row
from agent.fleet.rollout_tally import Step
from tests.fleet.dock import Dock, opened_dock
from tests.fleet.fleet_site import fleet_site, tls_of
from tests.fleet.mortal_controller import STATE, born
from tests.parts.processes import until

WAVES = {"cam-1": 0, "cam-2": 0, "cam-3": 1}
GROUPS = {device: frozenset({f"wave-{wave}"}) for device, wave in WAVES.items()}
PLAN = read_plan(
    """
schema: 1
name: people
release: gate/people/2.0
waves: [{group: wave-0}, {percent: 100}]
success_percent: 100
max_failed_percent: 0
soak_s: 0
""",
    "plan.yaml",
)
_ENDS = {Step.COMMITTED, Step.FAILED}
_WAITS = re.compile(r"wave \d+: (\d+) of the \d+ that must succeed have")
_PATIENCE_S = 40.0


@dataclass(frozen=True)
class Story:
    """How a roll-out ended; nothing in it depends on when, how often or by which process.

    Attributes:
        obeyed: How many commands each device carried out.
        rows: Wave, step and code of each device, as they were written down.
        audit: What the audit tells of it: what, of whom and in detail, sorted.
    """

    standing: Standing
    reason: str
    obeyed: dict[str, int]
    rows: dict[str, tuple[int, str, str]]
    audit: list[tuple[str, str, str]]

    @property
    def happened(self) -> Counter[str]:
        """How often the audit tells of what."""
        return Counter(what for what, _, _ in self.audit)


@dataclass(frozen=True)
class Life:
    """A controller's process, from its start to its end."""

    process: BaseProcess
    log: Path

    @property
    def moments(self) -> list[str]:
        """What it has done so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def is_listening(self) -> bool:
        """Whether it knows who is online."""
        return {f"{STATE}{device}" for device in WAVES} <= set(self.moments)

    def is_over(self) -> bool:
        return not self.process.is_alive()


@dataclass
class CrashSite:
    """The fleet. Each roll-out has a name and commands of its own."""

    folder: Path
    home: FleetHome
    dock: Dock
    store: RolloutStore
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def carry_out(
        self,
        *,
        good: bool = True,
        approvers: Sequence[str] = ("grace",),
        deaths: Iterable[str | int] = (),
    ) -> tuple[Story, list[str]]:
        """Carry out a roll-out of a good or bad release, or one that devices refuse, for want of approvers.

        Args:
            deaths: At which moment each of the first controllers dies, see `tests.fleet.mortal_controller`. Where the
                roll-out has ended, nobody dies any more.

        Returns:
            How it ended, and the moments of the first controller.
        """
        plan = self.new_plan()
        known = [claim for device in self.dock.devices for claim in device.claims]
        for device in self.dock.devices:
            device.good = good
        lives: list[Life] = []
        for death in deaths:
            if not lives or not self._has_ended(plan):
                lives.append(self._one_life(plan, death, approvers))
        lives.append(self._one_life(plan, "", approvers))
        return self._story(plan, known, len(lives)), lives[0].moments

    def new_plan(self) -> Plan:
        """Return a plan under a name that was not used."""
        return replace(PLAN, name=f"people-{next(self.numbers)}")

    def finish(self, plan: Plan) -> None:
        """Have a controller bring a roll-out to its end."""
        self._one_life(plan, "", ())

    def _one_life(self, plan: Plan, death: str | int, approvers: Sequence[str]) -> Life:
        may_end = not isinstance(death, str) or not death
        with self.served(plan, death, approvers) as life:
            self._live(plan, lambda: life.is_over() or (may_end and self._has_ended(plan)))
        return life

    @contextlib.contextmanager
    def served(
        self, plan: Plan, death: str | int = "", approvers: Sequence[str] = ("grace",)
    ) -> Iterator[Life]:
        """Run a controller, and let people begin the roll-out, where it was not begun, once all devices are known to it.

        The block must last until the controller has died, where a moment `death` is named.
        """
        log = self.folder / f"{next(self.numbers)}.moments"
        life = Life(born(self.home.folder, log, death), log)
        try:
            until(lambda: life.is_listening() or life.is_over(), _PATIENCE_S, "it serves")
            if life.is_listening() and self._rollout(plan) is None:
                self.dock.begin(*approvers, plan=plan)
            yield life
        finally:
            life.process.terminate()
            life.process.join(_PATIENCE_S)
        # It may be told to stop before it has begun to listen for that.
        ends = set() if isinstance(death, str) and death else {0, -signal.SIGTERM}
        if death:
            ends.add(-signal.SIGKILL)
        assert life.process.exitcode in ends, (death, life.process.exitcode)

    def _live(self, plan: Plan, is_over: Callable[[], bool]) -> None:
        """Let the devices live until it is over."""

        def lived() -> bool:
            self._let_one_speak(plan)
            return is_over()

        until(lived, _PATIENCE_S, f"{plan.name} goes on", every_s=0.005)

    def _rollout(self, plan: Plan) -> Rollout | None:
        return next((one for one in self.store.rollouts() if one.name == plan.name), None)

    def _has_ended(self, plan: Plan) -> bool:
        rollout, rows = self._rollout(plan), self.store.devices(plan.name)
        ended = rollout is not None and rollout.standing is not Standing.RUNNING
        return ended and all(row.step in _ENDS for row in rows if row.sends)

    def _let_one_speak(self, plan: Plan) -> None:
        """Let one device carry out its command, once the controller has done all that it does until a device speaks.

        It is the first of those that were asked: who comes first may be named by the story.
        """
        reached = [one for one in self.dock.devices if not one.client.inbox.empty()]
        rollout, rows = self._rollout(plan), self.store.devices(plan.name)
        behind = min((row.wave for row in rows if row.step is not Step.COMMITTED), default=1)
        early = {one.name for one in reached if WAVES[one.name] > behind}
        assert not early, "reached before their wave"
        if reached and rollout is not None and self._is_waiting(rollout, rows):
            asked = {row.device for row in rows if row.step is Step.ASKED}
            halts = rollout.standing is not Standing.RUNNING
            if halts or asked <= {one.name for one in reached}:
                reached[0].live()

    def _is_waiting(self, rollout: Rollout, rows: list[Row]) -> bool:
        """Whether every end was taken in, and what the roll-out is said to wait for is true."""
        if rollout.standing is not Standing.RUNNING:
            return True
        judged = {claim for device in self.dock.devices for claim in device.claims}
        if any(row.step is Step.FAILED for row in rows):
            return False  # it is about to halt
        at_work = [row for row in rows if row.step is not Step.COMMITTED]
        if not at_work or any(row.command in judged for row in at_work):
            return False
        there = [row for row in rows if row.wave == at_work[0].wave]
        committed = sum(row.step is Step.COMMITTED for row in there)
        waits = _WAITS.fullmatch(rollout.reason)
        return waits is not None and int(waits[1]) == committed

    def _story(self, plan: Plan, known: list[str], lives: int) -> Story:
        rollout, rows = self._rollout(plan), self.store.devices(plan.name)
        assert rollout is not None
        obeyed = {}
        for device, row in zip(self.dock.devices, rows, strict=True):
            while not device.client.inbox.empty():
                device.live()
            sent = {row.command} if row.sends else set()
            assert set(device.claims) - set(known) == sent, "another command"
            obeyed[device.name] = device.obeyed.count(row.command)
        told = history(self.home.place, since_ms=rollout.started_ms)
        assert_in_order(rows, lives)
        audit = [(one.what, one.device, one.detail.replace(plan.name, PLAN.name)) for one in told]
        steps = {row.device: (row.wave, row.step.value, row.code) for row in rows}
        return Story(rollout.standing, rollout.reason, obeyed, steps, sorted(audit))


def assert_in_order(rows: list[Row], lives: int) -> None:
    """Nobody ended before it was asked, and no wave was asked before all of the one before had the release."""
    for row in rows:
        if row.sends:
            assert row.sent_ms <= row.settled_ms
            assert all(one.settled_ms <= row.sent_ms for one in rows if one.wave < row.wave)
            assert row.sends <= lives, "sent again more often than there was reason to"


@contextlib.contextmanager
def crash_site(folder: Path, repository: Path) -> Iterator[CrashSite]:
    """Make the fleet in `folder`, with a broker, and connect its devices."""
    with fleet_site(folder, str(repository)) as home:
        records = [DeviceRecord(name, "gate", tuple(GROUPS[name]), b"", "0") for name in GROUPS]
        home.registry.put_devices(records)
        home.write_access()
        port, store = home.config.broker_port, RolloutStore(home.place)
        dock = opened_dock(folder, home.place, port, lambda name: tls_of(home, name), groups=GROUPS)
        yield CrashSite(folder, home, dock, store)
        dock.close()
        store.close()
