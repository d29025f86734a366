"""Reports as one HTML file: no scripts, nothing fetched, so that it can be mailed and kept.

page("Shadow run", [table(("class", "both"), [("part", "12")]), bars("agreement", {"part": 0.93})])
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}p.note{color:#57606a}
table{border-collapse:collapse;display:block;max-width:100%;overflow-x:auto}th,td{padding:.25rem .8rem;border-bottom:1px solid #d0d7de;text-align:right}
th:first-child,td:first-child,.text th,.text td{text-align:left}td{vertical-align:top}figure{margin:1rem 0}figcaption{color:#57606a}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1b1f24}
"""
_WIDTH, _ROW, _LABEL, _VALUE = 640, 24, 160, 60
_PLOT, _LEFT, _LOW, _EDGE = 160, 56, 20, 10
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#57606a")


@dataclass(frozen=True)
class Frames:
    """Boxes on a picture: corners in its pixels with a caption each, in one colour; dashed or not."""

    colour: str
    boxes: Sequence[tuple[str, Sequence[float]]]
    dashed: bool = False


@dataclass(frozen=True)
class Curve:
    """Points (x, y) by rising x, in one colour; a y of None interrupts the line."""

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: str


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole document; `sections` are HTML as the other functions make it."""
    phone = '<meta name="viewport" content="width=device-width,initial-scale=1">'
    head = f'<meta charset="utf-8">{phone}<title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *sections])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def heading(text: str) -> str:
    """Return the title of a section."""
    return f"<h2>{escape(text)}</h2>"


def note(text: str) -> str:
    """Return a paragraph that says how to read what is near it."""
    return f'<p class="note">{escape(text)}</p>'


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, is_text: bool = False
) -> str:
    """Return a table of figures, or of text, which begins at the left; every cell is escaped."""
    head = "".join(f"<th>{escape(one)}</th>" for one in columns)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    kind = ' class="text"' if is_text else ""
    return f"<table{kind}><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def folded(summary: str, inside: str) -> str:
    """Return HTML that is seen once somebody opens it."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def bars(caption: str, shares: Mapping[str, float], most: float = 1.0, form: str = ".1%") -> str:
    """Return horizontal bars of values in [0, `most`], one for each name; `form` is how they are written."""
    room = _WIDTH - _LABEL - _VALUE
    drawn = []
    for row, (name, share) in enumerate(shares.items()):
        y, width = row * _ROW, max(0.0, min(1.0, share / most)) * room
        drawn += [
            f'<text x="0" y="{y + 16}">{escape(name[:24])}</text>',
            f'<rect x="{_LABEL}" y="{y + 4}" width="{width:.1f}" height="16" fill="{COLOURS[0]}"/>',
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 16}">{share:{form}}</text>',
        ]
    return _figure(caption, _WIDTH, max(1, len(shares)) * _ROW, drawn)


def lines(
    caption: str, curves: Sequence[Curve], ends: tuple[str, str], most: float | None = None
) -> str:
    """Return a chart of curves over the same x, upwards from zero.

    Args:
        caption: What is drawn, with its unit.
        curves: At least one with a point.
        ends: Names of the least and the greatest x.
        most: Value at the top; the greatest y without.
    """
    places = [x for curve in curves for x, _ in curve.points]
    heights = [y for curve in curves for _, y in curve.points if y is not None]
    start, span = min(places), (max(places) - min(places)) or 1
    top, ground = (max(heights, default=0) if most is None else most) or 1, _EDGE + _PLOT
    right = _WIDTH - _EDGE

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - start) / span * (right - _LEFT)
        return f"{across:.1f},{ground - y / top * _PLOT:.1f}"

    drawn = [f'<path d="M{_LEFT} {_EDGE}V{ground}H{right}" fill="none" stroke="#8c959f"/>']
    for value in (0, top / 2, top):
        y = ground - value / top * _PLOT + 4
        drawn.append(f'<text x="{_LEFT - 6}" y="{y:.1f}" text-anchor="end">{value:.4g}</text>')
    for text, x, anchor in zip(ends, (_LEFT, right), ("start", "end"), strict=True):
        at = f'x="{x}" y="{ground + _LOW - 4}" text-anchor="{anchor}"'
        drawn.append(f"<text {at}>{escape(text)}</text>")
    for curve in curves:
        pen = f'fill="none" stroke="{curve.colour}" stroke-width="2"'
        for known, part in groupby(curve.points, lambda point: point[1] is not None):
            if known:
                steps = [place(x, y) for x, y in part if y is not None]
                drawn.append(f'<polyline points="{" ".join(steps)}" {pen}/>')
                if len(steps) == 1:
                    across, height = steps[0].split(",")
                    drawn.append(
                        f'<circle cx="{across}" cy="{height}" r="4" fill="{curve.colour}"/>'
                    )
    if not heights:
        middle = f'x="{(_LEFT + right) / 2}" y="{_EDGE + _PLOT / 2}" text-anchor="middle"'
        drawn.append(f"<text {middle}>nothing was measured</text>")
    figure = _figure(caption, _WIDTH, ground + _LOW, drawn)
    return figure + legend({curve.name: curve.colour for curve in curves})


def legend(colours: Mapping[str, str]) -> str:
    """Return which colour stands for which name."""
    marks = (
        f'<span style="color:{colour}">&#9632;</span> {escape(name)}'
        for name, colour in colours.items()
    )
    return f"<p>{' &nbsp; '.join(marks)}</p>"


def picture(caption: str, jpeg: bytes, size: tuple[int, int], frames: Iterable[Frames]) -> str:
    """Return a JPEG of `size` (width, height) pixels with boxes drawn over it."""
    width, height = size
    source = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    drawn = [f'<image href="{source}" width="{width}" height="{height}"/>']
    for group in frames:
        dash = ' stroke-dasharray="8 5"' if group.dashed else ""
        for text, (x_min, y_min, x_max, y_max) in group.boxes:
            place = f'x="{x_min:.1f}" y="{y_min:.1f}"'
            sides = f'width="{x_max - x_min:.1f}" height="{y_max - y_min:.1f}"'
            line = f'fill="none" stroke="{group.colour}" stroke-width="3"{dash}'
            below = y_max - 6 if group.dashed else y_min + 14
            words = f'x="{x_min + 4:.1f}" y="{below:.1f}" style="fill:{group.colour}"'
            drawn += [f"<rect {place} {sides} {line}/>", f"<text {words}>{escape(text)}</text>"]
    return _figure(caption, width, height, drawn)


def _figure(caption: str, width: int, height: int, drawn: Iterable[str]) -> str:
    inside = "".join(drawn)
    svg = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{inside}</svg>'
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
