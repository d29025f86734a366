"""What two models made of the same frames, counted. Pure.

An object is seen by both where boxes of one class overlap by an IoU of 0.5 or more, each box paired once, the greatest
overlap first. Classes that only one of the models has are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from agent.schema.shadow import (
    SHADOW_VERSION,
    ClassFinding,
    ClassTally,
    Contender,
    Latency,
    ShadowPicture,
    ShadowProgress,
    ShadowRecord,
    ShadowReport,
)
from agent.vision.golden import GoldenBox, MatchRule, pair

SAME = MatchRule(iou=0.5, score_tolerance=1.0)
_TIMES = 500


@dataclass(frozen=True)
class Compared:
    """One frame: boxes of both models with the candidate's labels, and milliseconds that each took, None if unknown."""

    running: Sequence[GoldenBox]
    candidate: Sequence[GoldenBox]
    running_ms: float | None
    candidate_ms: float


def count(record: ShadowRecord, frame: Compared) -> tuple[ShadowRecord, int]:
    """Return the record with one more frame, and how many of its objects are seen by one model alone."""
    pairs = pair(frame.running, frame.candidate, SAME)
    classes = dict(record.classes)

    def add(box: GoldenBox, **one_more: float) -> None:
        name = record.candidate.labels[box[0]]
        before = classes.get(name, ClassTally())
        added = {field: getattr(before, field) + value for field, value in one_more.items()}
        classes[name] = replace(before, **added)

    for left, right in pairs:
        box, other = frame.running[left], frame.candidate[right]
        change = other[1] - box[1]
        add(box, both=1, score_sum=change, score_abs_sum=abs(change))
    in_pairs = ({left for left, _ in pairs}, {right for _, right in pairs})
    sides = ((frame.running, "running_only"), (frame.candidate, "candidate_only"))
    alone = [
        (box, field)
        for (boxes, field), paired in zip(sides, in_pairs, strict=True)
        for place, box in enumerate(boxes)
        if place not in paired
    ]
    for box, field in alone:
        add(box, **{field: 1})
    running_ms = [] if frame.running_ms is None else [frame.running_ms]
    counted = replace(
        record,
        frames=record.frames + 1,
        differing=record.differing + bool(alone),
        classes=classes,
        running_ms=[*record.running_ms, *running_ms][-_TIMES:],
        candidate_ms=[*record.candidate_ms, frame.candidate_ms][-_TIMES:],
    )
    return counted, len(alone)


def admit_picture(record: ShadowRecord, picture: ShadowPicture) -> ShadowRecord:
    """Return the record with a picture among those of the greatest disagreement, if it belongs there."""
    ranked = sorted([*record.pictures, picture], key=lambda one: -one.differing)
    return replace(record, pictures=ranked[: record.args.pictures])


def skip(record: ShadowRecord, reason: str) -> ShadowRecord:
    """Return the record with one more frame left out."""
    return replace(record, skipped={**record.skipped, reason: record.skipped.get(reason, 0) + 1})


def report_of(record: ShadowRecord, device: str) -> ShadowReport:
    """Return what a record says."""
    return ShadowReport(
        v=SHADOW_VERSION,
        device=device,
        state=record.state,
        end=record.end,
        running=_name(record.running),
        candidate=_name(record.candidate),
        started_ms=record.started_ms,
        ended_ms=record.ended_ms,
        frames=record.frames,
        differing=record.differing,
        skipped=record.skipped,
        whole=_finding("all classes", _whole(record.classes)),
        classes=[_finding(name, tally) for name, tally in sorted(record.classes.items())],
        running_latency=_latency(record.running_ms),
        candidate_latency=_latency(record.candidate_ms),
        pictures=record.pictures,
    )


def progress_of(record: ShadowRecord) -> ShadowProgress:
    """Return how far a run is."""
    return ShadowProgress(
        state=record.state,
        candidate=record.candidate.release,
        variant=record.candidate.variant,
        frames=record.frames,
        of_frames=record.args.frames,
        agreement=_finding("", _whole(record.classes)).agreement,
        skipped=record.skipped,
        end=record.end,
    )


def _whole(classes: Mapping[str, ClassTally]) -> ClassTally:
    fields = ClassTally.__struct_fields__
    sums = {name: sum(getattr(one, name) for one in classes.values()) for name in fields}
    return ClassTally(**sums)


def _finding(name: str, tally: ClassTally) -> ClassFinding:
    objects = tally.both + tally.running_only + tally.candidate_only
    return ClassFinding(
        name=name,
        both=tally.both,
        running_only=tally.running_only,
        candidate_only=tally.candidate_only,
        agreement=round(tally.both / objects, 4) if objects else None,
        score_difference=round(tally.score_sum / tally.both, 4) if tally.both else None,
        score_distance=round(tally.score_abs_sum / tally.both, 4) if tally.both else None,
    )


def _latency(times_ms: Sequence[float]) -> Latency | None:
    """Return nearest-rank percentiles."""
    if not times_ms:
        return None
    ranked = sorted(times_ms)
    p50, p95 = (ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.95))
    return Latency(frames=len(ranked), p50_ms=round(p50, 2), p95_ms=round(p95, 2))


def _name(contender: Contender) -> str:
    return f"{contender.release} {contender.variant}"
