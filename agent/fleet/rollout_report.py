"""A roll-out as one HTML page that needs nothing else: what happened when, wave by wave, and what went wrong. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from agent.fleet.rollout_store import Rollout, Row
from agent.fleet.rollout_tally import Step
from agent.host.clock import utc
from agent.host.words import counted
from agent.web.report import Curve, heading, legend, lines, page, table

_WIDTH, _LEFT = 720, 56
_COLOURS = {
    "asked": "#4c78a8",
    "committed": "#54a24b",
    "failed": "#e45756",
    "working": "#eeca3b",
    "waiting": "#bab0ac",
}
_FAILED_SHOWN = 200


def report(rollout: Rollout, rows: Sequence[Row]) -> str:
    """Return the page of a roll-out with these devices, as far as it has come."""
    begun = utc(rollout.started_ms)
    standing = f"<b>{rollout.standing.value}</b>, {escape(rollout.reason)}"
    return page(
        f"Roll-out {rollout.name}",
        [
            f"<p>{escape(rollout.plan.release)}: {standing}. Begun {begun:%Y-%m-%d %H:%M:%S} UTC.</p>",
            heading("Over time"),
            _curves(rollout.started_ms, rows),
            heading("Waves"),
            _bars(len(rollout.plan.waves), rows),
            heading("From being asked to the end"),
            f"<p>{_took(rows)}</p>",
            heading("Failures"),
            *_failures(rows),
        ],
    )


def _curves(start_ms: int, rows: Sequence[Row]) -> str:
    """Draw how many devices were asked, have the release and failed by which time."""
    series = {
        "asked": sorted(row.sent_ms for row in rows if row.sent_ms),
        "committed": sorted(row.settled_ms for row in rows if row.step is Step.COMMITTED),
        "failed": sorted(row.settled_ms for row in rows if row.step is Step.FAILED),
    }
    end_ms = max((times[-1] for times in series.values() if times), default=start_ms)
    curves = []
    for name, times in series.items():
        steps: list[tuple[float, float]] = [(start_ms, 0)]
        for count, at_ms in enumerate(times):
            steps += [(at_ms, count), (at_ms, count + 1)]
        steps.append((end_ms, len(times)))
        curves.append(Curve(name, steps, _COLOURS[name]))
    ends = ("0 s", f"{(end_ms - start_ms) / 1000:.0f} s")
    return lines("Devices that were asked, have the release, failed", curves, ends, len(rows))


def _bars(waves: int, rows: Sequence[Row]) -> str:
    """Draw a bar for each wave, cut by where its devices are."""
    order = [Step.COMMITTED, Step.WORKING, Step.ASKED, Step.FAILED, Step.WAITING]
    counts = Counter((row.wave, row.step) for row in rows)
    parts = []
    for wave in range(waves):
        total, x, y = sum(counts[wave, step] for step in order), float(_LEFT), 10 + wave * 30
        parts.append(f'<text x="0" y="{y + 15}">wave {wave + 1}</text>')
        for step in order:
            count = counts[wave, step]
            width = count / max(1, total) * (_WIDTH - _LEFT - 70)
            if count:
                note = f"<title>{count} {step.value}</title>"
                box = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="20"'
                parts.append(f'<rect {box} fill="{_COLOURS[step.value]}">{note}</rect>')
            x += width
        done = counts[wave, Step.COMMITTED]
        parts.append(f'<text x="{_WIDTH - 64}" y="{y + 15}">{done} of {total}</text>')
    colours = {step.value: _COLOURS[step.value] for step in order}
    return _picture(20 + waves * 30, parts) + legend(colours)


def _took(rows: Sequence[Row]) -> str:
    took_s = [
        (row.settled_ms - row.sent_ms) / 1000 for row in rows if row.sent_ms and row.settled_ms
    ]
    if not took_s:
        return "No device has come to an end."
    half, most = statistics.median(took_s), max(took_s)
    return f"{counted(len(took_s), 'device')}: half within {half:.1f} s, all within {most:.1f} s."


def _failures(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if row.step is Step.FAILED]
    if not failed:
        return ["<p>None.</p>"]
    sums = Counter(row.code or "no code" for row in failed).most_common()
    told = [f"<p>{'; '.join(f'{count} times {escape(code)}' for code, count in sums)}</p>"]
    shown = [(row.device, row.wave + 1, row.code) for row in failed[:_FAILED_SHOWN]]
    told.append(table(("device", "wave", "code"), shown))
    rest = len(failed) - _FAILED_SHOWN
    return [*told, f"<p>And {rest} more.</p>"] if rest > 0 else told


def _picture(height: int, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'
