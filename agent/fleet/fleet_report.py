"""A fleet's last days as one HTML file: what needs attention, availability, speed, heat, drift, updates. Pure.

Curves over all devices are their median, the worst tenth and the worst; a device counts from the first day it kept.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from agent.fleet.accounts import Account, DayFigures
from agent.fleet.attention import Attention, ranked
from agent.fleet.pace import Pace, Slow, slower
from agent.host.words import counted
from agent.schema.messages import Outcome
from agent.web.period import Figure, Period
from agent.web.report import COLOURS, bars, folded, heading, note, page, table

_ROWS, _FIRST = 1000, 20
_SLOW_SHOWN = 20
_CAUSES = 5
_SETTLED = (
    Outcome.COMMITTED,
    Outcome.ROLLED_BACK,
    Outcome.REJECTED,
    Outcome.REFUSED,
    Outcome.FAILED,
)


@dataclass(frozen=True)
class FleetMonth:
    """What is told of.

    Attributes:
        title: Which fleet or group.
        accounts: Devices that answered.
        missing: Devices that did not, and why.
        limits_c: Greatest temperature by profile, degrees Celsius.
    """

    title: str
    period: Period
    accounts: Sequence[Account]
    missing: Mapping[str, str]
    limits_c: Mapping[str, float]


def fleet_report(month: FleetMonth) -> str:
    """Return the page."""
    slow = slower(Pace(one.device, one.kind, one.stages_ms) for one in month.accounts)
    words = {device: str(found) for device, found in slow.items()}
    attention = ranked(month.accounts, words, month.limits_c)
    return page(
        f"{month.title}: {month.period.title}",
        [
            table(("", ""), _facts(month)),
            note(
                "Days are UTC. A day's figure of a device is the mean of its measurements. Curves are over the devices that have a figure "
                "for the day: the median, the worst tenth (a tenth of the devices is worse), and the worst."
            ),
            heading("What needs attention"),
            *_attention(month, attention),
            heading("Who did not answer"),
            *_missing(month.missing),
            heading("Availability"),
            _spread(
                month, "Share of the day in which agents ran, %", lambda day: 100 * day.ran, 100
            ),
            _spread(
                month,
                "Share of that time in which frames were processed, %",
                lambda day: 100 * day.served if day.ran else None,
                100,
            ),
            heading("Speed"),
            _spread(month, "Frames a second", lambda day: day.fps),
            _spread(
                month, "Inference, p95 in ms", lambda day: day.infer_p95_ms, is_more_worse=True
            ),
            _by_profile(
                month, "Inference, p95 in ms: median by profile", lambda day: day.infer_p95_ms
            ),
            *_slow(slow),
            heading("Temperature"),
            _spread(
                month,
                "Hottest sensor, mean of the day, °C",
                lambda day: day.temperature_c,
                is_more_worse=True,
            ),
            _spread(
                month,
                "Hottest sensor, most of the day, °C",
                lambda day: day.hottest_c,
                is_more_worse=True,
            ),
            heading("Drift"),
            *_drift(month),
            heading("Updates"),
            *_updates(month),
        ],
    )


def _facts(month: FleetMonth) -> Iterator[tuple[str, object]]:
    accounts = month.accounts
    figures = [day for one in accounts for day in one.days.values()]
    yield "devices", len(accounts) + len(month.missing)
    yield "answered", len(accounts)
    if figures:
        yield "agents ran", f"{statistics.fmean(day.ran for day in figures):.2%} of the time"
        served = [day.served for day in figures if day.ran]
        if served:
            yield "frames were processed", f"{statistics.fmean(served):.2%} of that"
    yield "agent starts", sum(one.starts for one in accounts)
    counts = Counter(end.outcome for one in accounts for end in one.endings)
    told = [f"{one.value.replace('_', ' ')} {counts[one.value]}" for one in _SETTLED]
    yield "updates", ", ".join(text for text in told if not text.endswith(" 0")) or "none"


def _attention(month: FleetMonth, found: Sequence[Attention]) -> Iterator[str]:
    rest = len(month.accounts) - len(found)
    yield note(
        f"{counted(len(found), 'device')}, those with most grave reasons (marked !) first. Nothing is known against the other {rest}."
    )
    rows = [
        (
            one.account.device,
            one.account.state.release or "-",
            "; ".join(f"! {why.text}" if why.is_grave else why.text for why in one.reasons),
        )
        for one in found[:_ROWS]
    ]
    columns = ("device", "release", "why")
    yield table(columns, rows[:_FIRST] or [("none", "", "")], is_text=True)
    if len(found) > _FIRST:
        summary = f"The next {len(rows) - _FIRST} of {len(found)}"
        yield folded(summary, table(columns, rows[_FIRST:], is_text=True))


def _missing(missing: Mapping[str, str]) -> Iterator[str]:
    if not missing:
        yield note("All devices answered.")
        return
    counts = Counter(missing.values()).most_common(_CAUSES)
    yield note("; ".join(f"{count} {why}" for why, count in counts))
    yield table(("device", "why"), sorted(missing.items())[:_ROWS], is_text=True)
    yield from _more(len(missing))


def _spread(
    month: FleetMonth,
    caption: str,
    pick: Callable[[DayFigures], float | None],
    most: float | None = None,
    *,
    is_more_worse: bool = False,
) -> str:
    def known(day: date) -> list[float]:
        found = (pick(one.days[day]) for one in month.accounts if day in one.days)
        return sorted((value for value in found if value is not None), reverse=is_more_worse)

    values = {day: known(day) for day in month.period.dates}

    def of(summarise: Callable[[Sequence[float]], float]) -> Figure:
        return lambda day: summarise(values[day]) if values[day] else None

    curves = {
        "median": of(statistics.median),
        "worst tenth": of(lambda worst_first: worst_first[len(worst_first) // 10]),
        "worst": of(lambda worst_first: worst_first[0]),
    }
    return month.period.chart(caption, curves, most)


def _by_profile(month: FleetMonth, caption: str, pick: Callable[[DayFigures], float | None]) -> str:
    """Draw the median of each profile that most devices have: boards are not comparable with each other."""
    profiles = Counter(one.state.profile for one in month.accounts).most_common(len(COLOURS))

    def of(profile: str) -> Figure:
        accounts = [one for one in month.accounts if one.state.profile == profile]

        def median(day: date) -> float | None:
            found = (pick(one.days[day]) for one in accounts if day in one.days)
            known = [value for value in found if value is not None]
            return statistics.median(known) if known else None

        return median

    return month.period.chart(caption, {name or "not known": of(name) for name, _ in profiles})


def _slow(slow: Mapping[str, Slow]) -> Iterator[str]:
    if not slow:
        yield note("No device is slow beside others of the same profile, release and variant.")
        return
    worst = sorted(slow.items(), key=lambda item: -item[1].times)[:_SLOW_SHOWN]
    times = {device: one.times for device, one in worst}
    caption = "Slow beside their like: times the median of the stage's p50"
    yield bars(caption, times, max(times.values()), ".1f")
    rows = [
        (device, one.stage, f"{one.ms:.1f}", f"{one.usual_ms:.1f}", one.alike)
        for device, one in worst
    ]
    yield table(("device", "stage", "p50 ms", "median ms", "devices alike"), rows)


def _drift(month: FleetMonth) -> Iterator[str]:
    by_day: dict[tuple[date, str], int] = defaultdict(int)
    devices: dict[str, set[str]] = defaultdict(set)
    for one in month.accounts:
        for day, figures in one.days.items():
            for cause in figures.causes:
                by_day[day, cause] += 1
                devices[cause].add(one.device)
    if not devices:
        yield note("No camera had drifted, or none is judged.")
        return
    causes = sorted(devices, key=lambda cause: (-len(devices[cause]), cause))

    def of(cause: str) -> Figure:
        return lambda day: by_day.get((day, cause), 0)

    shown = {cause: of(cause) for cause in causes[:_CAUSES]}
    yield month.period.chart("Devices with a camera that had drifted, by cause", shown)
    rows = ((cause, len(devices[cause]), _days(by_day, cause)) for cause in causes[:_ROWS])
    yield table(("cause", "devices", "device days"), rows)


def _days(by_day: Mapping[tuple[date, str], int], cause: str) -> int:
    return sum(count for (_, name), count in by_day.items() if name == cause)


def _updates(month: FleetMonth) -> Iterator[str]:
    ends = [end for one in month.accounts for end in one.endings]
    if not ends:
        yield note("None ended in these days.")
        return
    by_day = Counter((end.day, end.outcome) for end in ends)
    by_release = Counter((end.release, end.outcome) for end in ends)
    names = [one.value for one in _SETTLED if any(end.outcome == one.value for end in ends)]

    def of(outcome: str) -> Figure:
        return lambda day: by_day[day, outcome]

    caption = "Updates that ended each day"
    yield month.period.chart(caption, {name.replace("_", " "): of(name) for name in names})
    releases = sorted({end.release for end in ends})
    rows = [(release, *(by_release[release, name] for name in names)) for release in releases]
    yield table(("release", *(name.replace("_", " ") for name in names)), rows[:_ROWS])


def _more(count: int) -> Iterator[str]:
    if count > _ROWS:
        yield note(f"And {count - _ROWS} more.")
