"""A device's days as one HTML file: availability, speed, heat, cameras, objects, updates. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from agent.host.clock import utc
from agent.host.words import lasting
from agent.schema.days import CameraDay, Day, DayHistory, Noted, Spread, StageDay
from agent.web.period import Figure, Period
from agent.web.report import heading, note, page, table

_ROWS = 200
_LABELS = 4
# What people know of a picture, and what the model makes of it; each against its baseline.
_FIGURES = ("brightness", "contrast", "sharpness", "scores", "objects")


@dataclass(frozen=True)
class Month:
    """What is told of: what a device kept, and of how many days, today among them."""

    history: DayHistory
    length: int

    @property
    def period(self) -> Period:
        """Its days, whether they are kept or not."""
        return Period(self.history.at_ms, self.length)

    @cached_property
    def days(self) -> Mapping[date, Day]:
        """Those that are kept."""
        return {date.fromisoformat(day.date): day for day in self.history.days}


def report_page(month: Month) -> str:
    """Return the page."""
    return page(
        f"{month.history.device}: {month.period.title}",
        [
            table(("", ""), _facts(month)),
            *(note(f"Left out: {one}") for one in month.history.unread),
            note(
                "Days are UTC. A day's mean is that of its measurements; p50 and p95 are means of those of single measurements, "
                "not percentiles of the day. Where a curve is interrupted, nothing is kept of that day."
            ),
            heading("Availability"),
            _availability(month),
            heading("Speed"),
            _chart(
                month,
                "Frames a second",
                {"mean": lambda day: _mean(day.fps), "least": lambda day: _least(day.fps)},
            ),
            *_latency(month),
            heading("Temperature"),
            _chart(
                month,
                "Hottest sensor, °C",
                {
                    "mean": lambda day: _mean(day.temperature_c),
                    "most": lambda day: _most(day.temperature_c),
                },
            ),
            *_cameras(month),
            heading("Objects"),
            *_objects(month),
            heading("Updates, drift and proofs"),
            *_record(month),
        ],
    )


def _facts(month: Month) -> Iterator[tuple[str, object]]:
    days = list(month.days.values())
    whole_s = sum(map(month.period.seconds, month.period.dates))
    yield "days with measurements", f"{len(days)} of {month.length}"
    for name, seconds in (
        ("agent ran", sum(day.measured_s for day in days)),
        ("frames were processed", sum(day.serving_s for day in days)),
    ):
        yield name, f"{lasting(seconds)}, {min(1.0, seconds / whole_s):.1%} of the time"
    yield "agent starts", sum(day.starts for day in days)
    yield "objects", sum(sum(day.events.values()) for day in days)
    ends = Counter(row.text.split()[1] for row in _rows(month) if row.kind == "update")
    yield "updates", ", ".join(f"{end} {count}" for end, count in sorted(ends.items())) or "none"


def _availability(month: Month) -> str:
    def share(seconds: Callable[[Day], float]) -> Figure:
        def of(day: date) -> float:
            found = month.days.get(day)
            return min(100.0, 100 * seconds(found) / month.period.seconds(day)) if found else 0.0

        return of

    figures = {
        "agent ran": share(lambda day: day.measured_s),
        "frames were processed": share(lambda day: day.serving_s),
    }
    return month.period.chart("Share of each day, %", figures, 100)


def _latency(month: Month) -> Iterator[str]:
    stages = {name: None for day in month.days.values() for name in day.stages}
    rows = []
    for name in stages:
        known = [day.stages[name] for day in month.days.values() if name in day.stages]
        means = (_mean_of([day.p50 for day in known]), _mean_of([day.p95 for day in known]))
        most = max(day.p95.most for day in known)
        rows.append((name, *(f"{ms:.1f}" for ms in (*means, most))))
    if "infer" in stages:

        def infer(pick: Callable[[StageDay], Spread]) -> Callable[[Day], float | None]:
            return lambda day: pick(day.stages["infer"]).mean if "infer" in day.stages else None

        shown = {"p50": infer(lambda stage: stage.p50), "p95": infer(lambda stage: stage.p95)}
        yield _chart(month, "Inference, ms", shown)
    yield table(("stage", "p50 ms", "p95 ms", "greatest p95 ms"), rows)


def _cameras(month: Month) -> Iterator[str]:
    for name in sorted({name for day in month.days.values() for name in day.cameras}):
        yield heading(f"Camera {name}")
        known = [day.cameras[name] for day in month.days.values() if name in day.cameras]
        judged = sum(one.judged for one in known)
        causes: Counter[str] = Counter()
        for one in known:
            causes.update(one.drifted)
        shares = [(cause, f"{count / max(1, judged):.1%}") for cause, count in causes.most_common()]
        yield note(f"Judged in {judged} measurements. Share in which it had drifted, by cause:")
        yield table(("cause", "share"), shares or [("none", "")])
        yield from _figures(month, name)


def _figures(month: Month, camera: str) -> Iterator[str]:
    def of(figure: str) -> Callable[[Day], float | None]:
        return lambda day: _mean(day.cameras.get(camera, CameraDay()).figures.get(figure))

    known = {
        figure
        for day in month.days.values()
        for figure in day.cameras.get(camera, CameraDay()).figures
    }
    shown = {figure: of(figure) for figure in _FIGURES if figure in known}
    if shown:
        caption = "Times what the model was made for: 1 is as in the release's baseline"
        yield _chart(month, caption, shown)


def _objects(month: Month) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for day in month.days.values():
        counts.update(day.events)
    most = [label for label, _ in counts.most_common(_LABELS)]
    if most:

        def of(label: str) -> Callable[[Day], float | None]:
            return lambda day: day.events.get(label, 0)

        yield _chart(month, "Objects that appeared each day", {one: of(one) for one in most})
    yield table(("label", "objects"), counts.most_common(_ROWS) or [("none", 0)])


def _record(month: Month) -> Iterator[str]:
    rows = _rows(month)
    shown = [(f"{utc(row.at_ms):%Y-%m-%d %H:%M}", row.kind, row.text) for row in rows[-_ROWS:]]
    yield table(("when (UTC)", "what", ""), shown or [("nothing", "", "")], is_text=True)
    if len(rows) > _ROWS:
        yield note(f"{len(rows) - _ROWS} earlier ones are in the audit record: vigil audit export")


def _rows(month: Month) -> list[Noted]:
    return [row for row in month.history.noted if month.period.covers(row.at_ms)]


def _chart(month: Month, caption: str, figures: Mapping[str, Callable[[Day], float | None]]) -> str:
    def of(figure: Callable[[Day], float | None]) -> Figure:
        return lambda day: figure(month.days[day]) if day in month.days else None

    return month.period.chart(caption, {name: of(figure) for name, figure in figures.items()})


def _mean_of(spreads: Sequence[Spread]) -> float:
    return sum(one.mean * one.count for one in spreads) / sum(one.count for one in spreads)


def _mean(spread: Spread | None) -> float | None:
    return spread.mean if spread else None


def _least(spread: Spread | None) -> float | None:
    return spread.least if spread else None


def _most(spread: Spread | None) -> float | None:
    return spread.most if spread else None
