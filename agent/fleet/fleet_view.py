"""The fleet as a person looks at it: a line for every device, sums over all, and pages of the lines.

The lines are made as rarely as `agent.fleet.kept` says, and only while somebody looks;
an answer has at most `PAGE_ROWS` of them however large the fleet is.
"""

from __future__ import annotations

import bisect
import enum
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from agent.fleet.candidates import Beside, beside, by_candidate
from agent.fleet.inbox import Inbox
from agent.fleet.kept import Kept
from agent.fleet.pace import Pace, slower, usual
from agent.fleet.registry import DeviceRecord, Registry
from agent.host.clock import wall_ms
from agent.schema.messages import State, Telemetry
from agent.schema.pace import FleetPace
from agent.schema.topics import ParsedTopic

PAGE_ROWS = 50
BARS = 8
HOTTEST = 5
HEAT_STEPS_C = (40, 50, 60, 70, 80)
_TEXT = 120
_MISSED = 3  # intervals without a word
_PATIENCE_MS = 60_000  # however short they are
_COLD = -math.inf


class Condition(str, enum.Enum):
    """How a device is: `trouble` is online and says what is wrong; `unheard` is not known to be there.

    It never spoke to this controller, or said that it is online and then nothing for three of its own intervals, a minute at
    least: who dies together with the broker leaves no last will.
    """

    ONLINE = "online"
    TROUBLE = "trouble"
    OFFLINE = "offline"
    UNHEARD = "unheard"
    REVOKED = "revoked"


@dataclass(frozen=True)
class DeviceRow:
    """One line of the table; texts are shortened, and those of an offline device are its last words.

    Attributes:
        drift: Which cameras drifted and why, empty for none.
        slow: In which stage it is slower than others like it (`agent.fleet.pace`), or by its own word than in its past;
            empty for none.
        shadow: Its newest shadow run, None while offline.
        fps: Frames a second now, None while offline; `temperature_c` likewise.
        heard_ms: When it was last heard by this controller's clock, Unix milliseconds; 0 for never.
    """

    id: str
    groups: tuple[str, ...]
    condition: Condition
    release: str = ""
    agent: str = ""
    phase: str = ""
    rung: str = ""
    drift: str = ""
    slow: str = ""
    problem: str = ""
    shadow: Beside | None = None
    fps: float | None = None
    temperature_c: float | None = None
    heard_ms: int = 0


@dataclass(frozen=True)
class Query:
    """Which lines, in which order: `show` is a condition, `drifting`, `slow`, `comparing` or `all`; `page` counts from 1."""

    show: str = "all"
    release: str = ""
    search: str = ""
    sort: str = "id"
    page: int = 1


SHOWN = frozenset(
    {"all", "drifting", "slow", "comparing", *(condition.value for condition in Condition)}
)
SORTS: dict[str, Callable[[DeviceRow], Any]] = {
    "id": lambda row: row.id,
    "temperature": lambda row: -(_COLD if row.temperature_c is None else row.temperature_c),
    "fps": lambda row: math.inf if row.fps is None else row.fps,
    "heard": lambda row: row.heard_ms,
}


class FleetView:
    """Listens to an inbox from its first message on; safe to ask from several threads.

    Args:
        registry: Who belongs to the fleet; who does not is not shown, whatever it says.
        inbox: What devices say.
        now_ms: The controller's clock, Unix milliseconds.
    """

    def __init__(
        self, registry: Registry, inbox: Inbox, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._registry = registry
        self._inbox = inbox
        self._now_ms = now_ms
        self._spoken: dict[str, State] = {}
        self._heard_ms: dict[str, int] = {}
        self._rows = Kept(self._look)
        inbox.observe(self._note)

    def rows(self) -> list[DeviceRow]:
        """Return the line of every device, by id."""
        return self._rows.newest()

    def row(self, record: DeviceRecord) -> DeviceRow:
        """Return the line of one device as it is now, beside the others as they were a moment ago."""
        others = {row.id: row.slow for row in self.rows()}
        return replace(self._row(record), slow=others.get(record.id, ""))

    def _row(self, record: DeviceRecord) -> DeviceRow:
        said = self._spoken.get(record.id)
        condition = self._condition(record)
        speaks = condition in {Condition.ONLINE, Condition.TROUBLE}
        telemetry = self._inbox.telemetry(record.id) if speaks else None
        heard_ms = self._heard_ms.get(record.id, 0)
        return _row(record, condition, said, telemetry, heard_ms)

    def spoken(self, device: str) -> State | None:
        """Return the last state that the device itself sent: the broker's word that it is gone says nothing else."""
        return self._spoken.get(device)

    def _look(self) -> list[DeviceRow]:
        rows = [self._row(record) for record in self._registry.devices()]
        slow = slower(self._paces(rows))
        return [replace(row, slow=str(slow.get(row.id, row.slow))) for row in rows]

    def paces(self) -> list[FleetPace]:
        """Return the medians of every kind of board and model that enough devices have."""
        return usual(self._paces(self.rows()))

    def _paces(self, rows: Iterable[DeviceRow]) -> Iterator[Pace]:
        for row in rows:
            said, measured = self._spoken.get(row.id), self._inbox.telemetry(row.id)
            if said is None or measured is None or row.fps is None:
                continue
            stages_ms = {name: stage.p50 for name, stage in measured.stages.items()}
            kind = (said.profile, said.release or "", said.variant or "")
            yield Pace(row.id, kind, stages_ms)

    def _condition(self, record: DeviceRecord) -> Condition:
        state = self._inbox.state(record.id)
        if record.revoked:
            return Condition.REVOKED
        if state is None:
            return Condition.UNHEARD
        if not state.online:
            return Condition.OFFLINE
        if self._owes_a_word(state):
            return Condition.UNHEARD
        return Condition.TROUBLE if state.problem or state.unproven else Condition.ONLINE

    def _owes_a_word(self, state: State) -> bool:
        """Return whether a device that calls itself online has been silent for too long; older agents do not say what that is."""
        now_ms = self._now_ms()
        silent_ms = now_ms - self._heard_ms.get(state.device, now_ms)
        return state.interval_ms > 0 and silent_ms > max(_PATIENCE_MS, _MISSED * state.interval_ms)

    def _note(self, topic: ParsedTopic, message: Any) -> None:
        """Network thread: remember when a device spoke; its last will is not its own word."""
        if isinstance(message, State):
            if not message.online:
                return
            self._spoken[topic.device] = message
        self._heard_ms[topic.device] = self._now_ms()


def chosen(rows: Iterable[DeviceRow], query: Query) -> dict[str, Any]:
    """Return one page of the lines that a query asks for, and how many there are."""
    wanted = [row for row in rows if _fits(row, query)]
    wanted.sort(key=SORTS[query.sort])
    pages = max(1, math.ceil(len(wanted) / PAGE_ROWS))
    page = min(max(1, query.page), pages)
    start = (page - 1) * PAGE_ROWS
    shown = wanted[start : start + PAGE_ROWS]
    return {"total": len(wanted), "page": page, "pages": pages, "rows": shown}


def summary(rows: list[DeviceRow]) -> dict[str, Any]:
    """Return sums over the fleet: as many lines for ten thousand devices as for ten."""
    members = [row for row in rows if row.condition is not Condition.REVOKED]
    warm = [row for row in members if row.temperature_c is not None]
    hottest = sorted(warm, key=SORTS["temperature"])[:HOTTEST]
    conditions = Counter(row.condition.value for row in rows)
    return {
        "devices": len(rows),
        "conditions": {one.value: conditions[one.value] for one in Condition},
        "drifting": sum(bool(row.drift) for row in members),
        "slow": sum(bool(row.slow) for row in members),
        "comparing": sum(_compares(row) for row in members),
        "candidates": by_candidate(((row.id, row.shadow) for row in members if row.shadow), BARS),
        "groups": _by_group(members),
        "releases": _most(row.release for row in members),
        "agents": _most(row.agent for row in members),
        "temperatures": _heat([row.temperature_c for row in warm if row.temperature_c is not None]),
        "hottest": [{"id": row.id, "temperature_c": row.temperature_c} for row in hottest],
    }


def _row(
    record: DeviceRecord,
    condition: Condition,
    said: State | None,
    telemetry: Telemetry | None,
    heard_ms: int,
) -> DeviceRow:
    if said is None:
        return DeviceRow(record.id, record.groups, condition, heard_ms=heard_ms)
    drift = ", ".join(f"{camera}: {cause}" for camera, cause in said.drifted.items())
    return DeviceRow(
        id=record.id,
        groups=record.groups,
        condition=condition,
        release=_short(said.release or ""),
        agent=_short(said.agent),
        phase=said.phase.value,
        rung=_short(said.rung),
        drift=_short(drift),
        slow=_short(said.slow),
        problem=_short(said.problem or said.unproven),
        shadow=beside(telemetry.shadow) if telemetry and telemetry.shadow else None,
        fps=telemetry.fps if telemetry else None,
        temperature_c=telemetry.temperature_c if telemetry else None,
        heard_ms=heard_ms,
    )


def _compares(row: DeviceRow) -> bool:
    return row.shadow is not None and row.shadow.is_running


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _fits(row: DeviceRow, query: Query) -> bool:
    marks = {"drifting": row.drift, "slow": row.slow, "comparing": _compares(row)}
    shown = bool(marks.get(query.show)) or query.show in {"all", row.condition.value}
    searched = query.search in row.id or query.search in row.groups
    return shown and searched and query.release in {"", row.release}


def _by_group(rows: list[DeviceRow]) -> list[dict[str, Any]]:
    """Return the largest groups with how many of each condition; a device counts in each of its groups."""
    sizes = Counter(group for row in rows for group in row.groups)
    pairs = Counter((group, row.condition.value) for row in rows for group in row.groups)
    return [
        {"name": name, "conditions": {one.value: pairs[name, one.value] for one in Condition}}
        for name, _ in sizes.most_common(BARS)
    ]


def _most(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the commonest names with how many have each; the rest together, whose name is null."""
    counts = Counter(names)
    most = counts.most_common(BARS)
    rest = counts.total() - sum(count for _, count in most)
    others = [(None, rest)] if rest else []
    return [{"name": name, "count": count} for name, count in [*most, *others]]


def _heat(temperatures_c: Iterable[float]) -> list[dict[str, Any]]:
    counts = Counter(bisect.bisect(HEAT_STEPS_C, temperature) for temperature in temperatures_c)
    between = [f"{low} to {high} °C" for low, high in itertools.pairwise(HEAT_STEPS_C)]
    names = [f"under {HEAT_STEPS_C[0]} °C", *between, f"{HEAT_STEPS_C[-1]} °C and more"]
    return [{"name": name, "count": counts[number]} for number, name in enumerate(names)]
