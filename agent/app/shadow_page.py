"""The report of a shadow run as one HTML file. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.host.clock import utc
from agent.schema.shadow import ClassFinding, Latency, ShadowPicture, ShadowReport
from agent.schema.values import Box
from agent.supervisor.comparison import alone_in
from agent.web.report import COLOURS, Frames, bars, heading, note, page, picture, table

_COLUMNS = (
    "class",
    "both",
    "running only",
    "candidate only",
    "agreement",
    "score change",
    "|score change|",
)


def shadow_page(report: ShadowReport, labels: Sequence[str], pictures: Mapping[str, bytes]) -> str:
    """Return the page; `labels` are the candidate's class names, `pictures` the JPEGs by file name."""
    shares = {one.name: one.agreement for one in report.classes if one.agreement is not None}
    return page(
        f"Shadow run on {report.device}",
        [
            table(("", ""), _facts(report)),
            heading("What both see"),
            note(
                "An object is seen by both where boxes of one class overlap by IoU 0.5. Nothing says which model is right. "
                "Score change is the candidate's minus the running model's, over objects that both see."
            ),
            table(_COLUMNS, [_row(report.whole), *map(_row, report.classes)]),
            bars("Objects seen by both, as a share of those seen by any", shares),
            heading("Time for a frame"),
            note(
                "From scaling to boxes. The candidate has one thread and a low priority and gives way to everything: "
                "what it takes here is an upper bound, not what it would take in service."
            ),
            table(("model", "frames", "p50 ms", "p95 ms"), _latencies(report)),
            heading("Where they differ most"),
            note(
                "Running model: dashed orange. Candidate: blue. Boxes that one model alone saw are named."
            ),
            *(
                _shown(one, labels, pictures[one.file])
                for one in report.pictures
                if one.file in pictures
            ),
        ],
    )


def _facts(report: ShadowReport) -> list[tuple[str, str]]:
    skipped = ", ".join(f"{reason} {count}" for reason, count in sorted(report.skipped.items()))
    return [
        ("running", report.running),
        ("candidate", report.candidate),
        ("state", f"ended: {report.end}" if report.end else report.state.value),
        ("from", _time(report.started_ms)),
        ("to", _time(report.ended_ms) if report.ended_ms else "still running"),
        ("frames compared", str(report.frames)),
        ("frames with a difference", str(report.differing)),
        ("frames left out", skipped or "none"),
    ]


def _row(one: ClassFinding) -> tuple[object, ...]:
    counts = (one.both, one.running_only, one.candidate_only)
    agreement = "-" if one.agreement is None else f"{one.agreement:.1%}"
    scores = (one.score_difference, one.score_distance)
    return (
        one.name,
        *counts,
        agreement,
        *("-" if each is None else f"{each:+.3f}" for each in scores),
    )


def _latencies(report: ShadowReport) -> list[tuple[object, ...]]:
    found: list[tuple[str, Latency | None]] = [
        (report.running, report.running_latency),
        (report.candidate, report.candidate_latency),
    ]
    return [(name, one.frames, one.p50_ms, one.p95_ms) for name, one in found if one is not None]


def _shown(one: ShadowPicture, labels: Sequence[str], jpeg: bytes) -> str:
    def captions(boxes: Sequence[Box], alone: Sequence[int]) -> list[tuple[str, Sequence[float]]]:
        return [
            (
                f"{labels[box.label]} {box.score:.2f}" if place in alone else "",
                (box.x_min, box.y_min, box.x_max, box.y_max),
            )
            for place, box in enumerate(boxes)
        ]

    running, candidate = alone_in(one)
    frames = [
        Frames(COLOURS[1], captions(one.running, running), dashed=True),
        Frames(COLOURS[0], captions(one.candidate, candidate)),
    ]
    caption = (
        f"{one.camera}, {_time(one.captured_ms)}: {one.differing} objects seen by one model alone"
    )
    return picture(caption, jpeg, (one.width, one.height), frames)


def _time(at_ms: int) -> str:
    return f"{utc(at_ms):%Y-%m-%d %H:%M:%S} UTC"
