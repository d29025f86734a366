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
    TOLD_CLASSES,
    ClassFinding,
    ClassTally,
    Contender,
    Latency,
    ShadowPicture,
    ShadowProgress,
    ShadowRecord,
    ShadowReport,
    ShadowState,
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


def alone_in(picture: ShadowPicture) -> tuple[list[int], list[int]]:
    """Return the places of the boxes that one model alone saw: of the running model's, and of the candidate's."""
    running, candidate = (
        [(box.label, box.score, box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes]
        for boxes in (picture.running, picture.candidate)
    )
    return _unpaired(pair(running, candidate, SAME), len(running), len(candidate))


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
    left_alone, right_alone = _unpaired(pairs, len(frame.running), len(frame.candidate))
    alone = [(frame.running[place], "running_only") for place in left_alone]
    alone += [(frame.candidate[place], "candidate_only") for place in right_alone]
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


def progress_of(record: ShadowRecord, now_ms: int) -> ShadowProgress:
    """Return how far a run is at a time (Unix milliseconds)."""
    found = [_finding(name, tally) for name, tally in record.classes.items()]
    shares = {one.name: one.agreement for one in found if one.agreement is not None}
    least = sorted(shares.items(), key=lambda item: (item[1], item[0]))[:TOLD_CLASSES]
    return ShadowProgress(
        state=record.state,
        candidate=record.candidate.release,
        variant=record.candidate.variant,
        frames=record.frames,
        of_frames=record.args.frames,
        agreement=_finding("", _whole(record.classes)).agreement,
        classes=dict(least),
        left_s=_left_s(record, now_ms),
        skipped=record.skipped,
        end=record.end,
    )


def _unpaired(
    pairs: Sequence[tuple[int, int]], running: int, candidate: int
) -> tuple[list[int], list[int]]:
    lefts, rights = {left for left, _ in pairs}, {right for _, right in pairs}
    return (
        [place for place in range(running) if place not in lefts],
        [place for place in range(candidate) if place not in rights],
    )


def _left_s(record: ShadowRecord, now_ms: int) -> int | None:
    if record.state is ShadowState.ENDED:
        return None
    passed_s = max(0, now_ms - record.started_ms) / 1000
    left_s = record.args.hours * 3600 - passed_s
    if record.frames:
        left_s = min(left_s, (record.args.frames / record.frames - 1) * passed_s)
    return max(0, round(left_s))


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
