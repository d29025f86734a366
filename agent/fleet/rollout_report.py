"""A roll-out as one HTML page that needs nothing else: what happened when, wave by wave, and what went wrong. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape

from agent.fleet.rollout_store import Rollout, Row
from agent.fleet.rollout_tally import Step

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 260, 56, 28
_COLOURS = {
    "asked": "#4c78a8",
    "committed": "#54a24b",
    "failed": "#e45756",
    "working": "#eeca3b",
    "waiting": "#bab0ac",
}
_FAILED_SHOWN = 200
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Roll-out {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse }} th, td {{ padding: .2rem .8rem .2rem 0; text-align: left }}
svg {{ width: 100%; height: auto }} text {{ font-size: 12px; fill: #555 }}
</style></head><body>
<h1>Roll-out {name}</h1>
<p>{release}: <b>{standing}</b>, {reason}. Begun {begun} UTC.</p>
<h2>Over time</h2>{curves}
<h2>Waves</h2>{bars}
<h2>From being asked to the end</h2><p>{took}</p>
<h2>Failures</h2>{failures}
</body></html>
"""


def report(rollout: Rollout, rows: Sequence[Row]) -> str:
    """Return the page of a roll-out with these devices, as far as it has come."""
    begun = datetime.fromtimestamp(rollout.started_ms / 1000, timezone.utc)
    return _PAGE.format(
        name=escape(rollout.name),
        release=escape(rollout.plan.release),
        standing=rollout.standing.value,
        reason=escape(rollout.reason),
        begun=f"{begun:%Y-%m-%d %H:%M:%S}",
        curves=_curves(rollout.started_ms, rows),
        bars=_bars(len(rollout.plan.waves), rows),
        took=_took(rows),
        failures=_failures(rows),
    )


def _curves(start_ms: int, rows: Sequence[Row]) -> str:
    """Draw how many devices were asked, have the release and failed by which time."""
    series = {
        "asked": sorted(row.sent_ms for row in rows if row.sent_ms),
        "committed": sorted(row.settled_ms for row in rows if row.step is Step.COMMITTED),
        "failed": sorted(row.settled_ms for row in rows if row.step is Step.FAILED),
    }
    end_ms = max((times[-1] for times in series.values() if times), default=start_ms)
    span_ms, most = max(1, end_ms - start_ms), max(1, len(rows))

    def point(at_ms: int, count: int) -> str:
        x = _LEFT + (at_ms - start_ms) / span_ms * (_WIDTH - _LEFT - 10)
        y = (_HEIGHT - _BOTTOM) - count / most * (_HEIGHT - _BOTTOM - 10)
        return f"{x:.1f},{y:.1f}"

    lines = []
    for name, times in series.items():
        steps = [point(start_ms, 0)]
        for count, at_ms in enumerate(times):
            steps += [point(at_ms, count), point(at_ms, count + 1)]
        steps.append(point(end_ms, len(times)))
        stroke = f'fill="none" stroke="{_COLOURS[name]}" stroke-width="2"'
        lines.append(f'<polyline points="{" ".join(steps)}" {stroke}/>')
    ground = _HEIGHT - _BOTTOM
    lines += [
        f'<path d="M{_LEFT} 10V{ground}H{_WIDTH - 10}" fill="none" stroke="#999"/>',
        f'<text x="{_LEFT - 6}" y="18" text-anchor="end">{len(rows)}</text>',
        f'<text x="{_LEFT - 6}" y="{ground}" text-anchor="end">0</text>',
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">{span_ms / 1000:.0f} s</text>',
    ]
    return _picture(_HEIGHT, lines) + _legend(series)


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
    return _picture(20 + waves * 30, parts) + _legend(step.value for step in order)


def _took(rows: Sequence[Row]) -> str:
    took_s = [
        (row.settled_ms - row.sent_ms) / 1000 for row in rows if row.sent_ms and row.settled_ms
    ]
    if not took_s:
        return "No device has come to an end."
    half, most = statistics.median(took_s), max(took_s)
    return f"{len(took_s)} devices: half within {half:.1f} s, all within {most:.1f} s."


def _failures(rows: Sequence[Row]) -> str:
    failed = [row for row in rows if row.step is Step.FAILED]
    if not failed:
        return "<p>None.</p>"
    sums = Counter(row.code or "no code" for row in failed).most_common()
    head = "; ".join(f"{count} times {escape(code)}" for code, count in sums)
    cells = "".join(
        f"<tr><td>{escape(row.device)}</td><td>{row.wave + 1}</td><td>{escape(row.code)}</td></tr>"
        for row in failed[:_FAILED_SHOWN]
    )
    rest = len(failed) - _FAILED_SHOWN
    more = f"<p>And {rest} more.</p>" if rest > 0 else ""
    return f"<p>{head}</p><table><tr><th>device<th>wave<th>code</tr>{cells}</table>{more}"


def _picture(height: int, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _legend(names: Iterable[str]) -> str:
    marks = (f'<span style="color:{_COLOURS[name]}">&#9632;</span> {name}' for name in names)
    return f"<p>{' &nbsp; '.join(marks)}</p>"
