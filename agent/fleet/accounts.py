"""What a device said of its last days, brought down to what a fleet's report tells of it. Pure.

It comes from a device, so it is read strictly: sizes, dates and figures that cannot be are refused as a whole.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from agent.errors import TransferError
from agent.host.clock import utc
from agent.schema.days import DAYS_VERSION, Day, DayHistory, Noted, Spread
from agent.schema.document import Malformed, parse_json
from agent.schema.messages import Outcome, State
from agent.web.period import Period

_MAX_BYTES = 16 << 20
_MOST = 1e9
_TEXT = 120
_OUTCOMES = {one.value for one in Outcome}
_LEAST_JUDGED = 10


@dataclass(frozen=True)
class DayFigures:
    """One day of one device.

    Attributes:
        ran: Share of the day in which the agent ran, in [0, 1].
        served: Share of that time in which frames were processed, in [0, 1].
        causes: Why cameras had drifted on it.
    """

    ran: float
    served: float
    fps: float | None = None
    infer_p95_ms: float | None = None
    temperature_c: float | None = None
    hottest_c: float | None = None
    causes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ending:
    """How one update ended: the day, the release's label, an `Outcome`."""

    day: date
    release: str
    outcome: str


@dataclass(frozen=True)
class Account:
    """One device over a period.

    Attributes:
        state: The last that it said of itself.
        days: From the first that it kept on; on those without figures it did not run.
        drifted: Share of judged measurements in which a camera had drifted, by `camera: cause`.
        stages_ms: Mean of each stage's p50.
    """

    device: str
    state: State
    days: Mapping[date, DayFigures]
    starts: int
    endings: Sequence[Ending]
    drifted: Mapping[str, float]
    stages_ms: Mapping[str, float]
    unread: int

    @property
    def kind(self) -> tuple[str, str, str]:
        """Profile, release and variant: whom it is comparable with."""
        return (self.state.profile, self.state.release or "", self.state.variant or "")


def read_history(data: bytes, device: str) -> DayHistory:
    """Read what a device sent in answer to `daily-summaries`.

    Raises:
        TransferError: It is not that, or cannot be.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            text = packed.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise _strange(f"it is more than {_MAX_BYTES} bytes")
        history = parse_json(text, DayHistory)
        dates = [date.fromisoformat(day.date) for day in history.days]
    except (OSError, EOFError, zlib.error, ValueError, Malformed) as error:
        raise _strange(str(error)) from error
    if (history.v, history.device) != (DAYS_VERSION, device):
        raise _strange(f"version {history.v} of {history.device}")
    if len(set(dates)) < len(dates) or any(map(_cannot_be, history.days)):
        raise _strange("a day is there twice, or has figures that cannot be")
    return history


def account(history: DayHistory, state: State, period: Period) -> Account:
    """Return what a device's history says of a period; days beyond it are left out."""
    kept = {date.fromisoformat(day.date): day for day in history.days}
    known = {day: kept[day] for day in period.dates if day in kept}
    begun = min(known, default=None)
    days = {
        day: _figures(known.get(day), period.seconds(day))
        for day in period.dates
        if begun is not None and day >= begun
    }
    return Account(
        device=history.device,
        state=state,
        days=days,
        starts=sum(day.starts for day in known.values()),
        endings=[one for row in history.noted if period.covers(row.at_ms) for one in _ending(row)],
        drifted=_drifted(known.values()),
        stages_ms=_stages_ms(known.values()),
        unread=len(history.unread),
    )


def _figures(day: Day | None, length_s: float) -> DayFigures:
    if day is None:
        return DayFigures(0.0, 0.0)
    infer = day.stages.get("infer")
    return DayFigures(
        ran=min(1.0, day.measured_s / length_s),
        served=min(1.0, day.serving_s / day.measured_s) if day.measured_s else 0.0,
        fps=day.fps.mean if day.fps else None,
        infer_p95_ms=infer.p95.mean if infer else None,
        temperature_c=day.temperature_c.mean if day.temperature_c else None,
        hottest_c=day.temperature_c.most if day.temperature_c else None,
        causes=frozenset(cause[:_TEXT] for one in day.cameras.values() for cause in one.drifted),
    )


def _ending(row: Noted) -> Iterator[Ending]:
    words = row.text.split()
    if row.kind == "update" and len(words) > 1 and words[1] in _OUTCOMES:
        release = words[0].removeprefix("models/").removesuffix("/manifest.json")
        yield Ending(utc(row.at_ms).date(), release[:_TEXT], words[1])


def _drifted(days: Iterable[Day]) -> dict[str, float]:
    judged, counts = Counter[str](), Counter[tuple[str, str]]()
    for day in days:
        for camera, one in day.cameras.items():
            judged[camera] += one.judged
            counts.update({(camera, cause): count for cause, count in one.drifted.items()})
    return {
        f"{camera}: {cause}"[:_TEXT]: min(1.0, count / judged[camera])
        for (camera, cause), count in counts.items()
        if judged[camera] >= _LEAST_JUDGED
    }


def _stages_ms(days: Iterable[Day]) -> dict[str, float]:
    sums, counts = defaultdict[str, float](float), Counter[str]()
    for day in days:
        for name, stage in day.stages.items():
            sums[name] += stage.p50.mean * stage.p50.count
            counts[name] += stage.p50.count
    return {name: sums[name] / counts[name] for name in sums if counts[name]}


def _cannot_be(day: Day) -> bool:
    spreads: list[Spread | None] = [day.fps, day.temperature_c]
    for stage in day.stages.values():
        spreads += [stage.p50, stage.p95]
    figures = [day.measured_s, day.serving_s]
    figures += [value for one in spreads if one for value in (one.mean, one.least, one.most)]
    return min(day.measured_s, day.serving_s) < 0 or any(abs(value) > _MOST for value in figures)


def _strange(problem: str) -> TransferError:
    return TransferError(f"what it kept of its days cannot be read: {problem}")
