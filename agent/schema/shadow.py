"""A candidate model judged against the running one on live frames: what is asked for, and what was found."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from agent.schema.manifest import ReleaseRef
from agent.schema.values import Box, Counter, Fraction, Identifier, Sha256, Struct, TargetPath

SHADOW_VERSION = 1
TOLD_CLASSES = 8


class StartShadowArgs(Struct):
    """`start-shadow`: which model, on how many frames, at which cost.

    Attributes:
        release: Target path of another release's manifest; null for the one that runs.
        sha256: Its digest.
        variant: Which variant; empty for the one that is chosen for this board.
        frames: It ends after so many compared frames,
        hours: or after so many hours, whatever comes first.
        every_s: Least time between two compared frames, seconds.
        cpu_percent: Share of one core that the candidate may take.
        pictures: How many pictures with the greatest disagreement are kept.
    """

    release: TargetPath | None = None
    sha256: Sha256 | None = None
    variant: Identifier | None = None
    frames: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    hours: Annotated[float, msgspec.Meta(gt=0.0, le=720.0)] = 24.0
    every_s: Annotated[float, msgspec.Meta(ge=0.2, le=3600.0)] = 5.0
    cpu_percent: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    pictures: Annotated[int, msgspec.Meta(ge=0, le=12)] = 6


class ShadowState(str, enum.Enum):
    """Whether frames are still compared."""

    RUNNING = "running"
    ENDED = "ended"


class ClassTally(Struct):
    """Objects of one class: seen by both models, by one alone; sums of candidate's minus running score over pairs."""

    both: Counter = 0
    running_only: Counter = 0
    candidate_only: Counter = 0
    score_sum: float = 0.0
    score_abs_sum: float = 0.0


class ShadowPicture(Struct):
    """A picture in which the models differ by `differing` objects; boxes in its pixels, labels are the candidate's."""

    file: str
    camera: Identifier
    captured_ms: Counter
    width: Counter
    height: Counter
    differing: Counter
    running: list[Box]
    candidate: list[Box]


class Contender(Struct):
    """One of the two models."""

    ref: ReleaseRef
    release: str
    variant: Identifier
    labels: list[str]


class ShadowRecord(Struct):
    """Everything that is known of one shadow run; kept on disk.

    Attributes:
        end: Why it is over; empty while it runs.
        differing: Frames in which an object is seen by one model alone.
        skipped: How often a frame was left out, by reason.
        classes: By class name.
        running_ms: Time for a frame (`pre`, `infer`, `post`) of the running model, newest last, milliseconds.
        candidate_ms: The same of the candidate.
    """

    v: int
    args: StartShadowArgs
    running: Contender
    candidate: Contender
    started_ms: Counter
    state: ShadowState = ShadowState.RUNNING
    end: str = ""
    ended_ms: Counter = 0
    frames: Counter = 0
    differing: Counter = 0
    skipped: dict[str, int] = {}
    classes: dict[str, ClassTally] = {}
    running_ms: list[float] = []
    candidate_ms: list[float] = []
    pictures: list[ShadowPicture] = []


class ShadowProgress(Struct):
    """How far a shadow run is, in telemetry.

    Attributes:
        agreement: Objects that both models see, as a share of those that any sees; null before the first.
        classes: The same by class, of the `TOLD_CLASSES` in which they agree least.
        left_s: Seconds until it ends by frames or by time, if it goes on as it went; null when it has ended.
    """

    state: ShadowState
    candidate: str
    variant: Identifier
    frames: Counter
    of_frames: Counter
    agreement: Fraction | None = None
    classes: dict[str, Fraction] = {}
    left_s: Counter | None = None
    skipped: dict[str, int] = {}
    end: str = ""


class ClassFinding(Struct):
    """One class of a report.

    Attributes:
        agreement: Objects seen by both, as a share of those seen by any; null without objects.
        score_difference: Mean of the candidate's minus the running model's score over pairs; null without pairs.
        score_distance: Mean of its absolute value.
    """

    name: str
    both: Counter
    running_only: Counter
    candidate_only: Counter
    agreement: Fraction | None
    score_difference: float | None
    score_distance: float | None


class Latency(Struct):
    """Milliseconds for a frame, from scaling to boxes, over the newest `frames`."""

    frames: Counter
    p50_ms: float
    p95_ms: float


class ShadowReport(Struct):
    """What a shadow run found; `running` and `candidate` name release and variant. Pictures are by file name."""

    v: int
    device: Identifier
    state: ShadowState
    end: str
    running: str
    candidate: str
    started_ms: Counter
    ended_ms: Counter
    frames: Counter
    differing: Counter
    skipped: dict[str, int]
    whole: ClassFinding
    classes: list[ClassFinding]
    running_latency: Latency | None
    candidate_latency: Latency | None
    pictures: list[ShadowPicture]


class ShadowView(Struct):
    """What the device's page shows of a run.

    Attributes:
        labels: The candidate's class names.
        alone: By picture, the places of the boxes that one model alone saw: the running model's, and the candidate's.
    """

    progress: ShadowProgress
    report: ShadowReport
    labels: list[str]
    alone: dict[str, tuple[list[int], list[int]]]
