"""What a model was made for, in figures: of one frame, of a release's baseline, and of what differs on a device."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import (
    Counter,
    Fraction,
    Identifier,
    Positive,
    PositiveFloat,
    Struct,
    UnixMs,
)

BASELINE_VERSION = 1
# Rows and columns of the grid that says where in the picture something is.
GRID = (6, 8)
# A distribution is kept as its quantiles 0, 5, … 100 %.
QUANTILES = 21

Quantiles = Annotated[list[float], msgspec.Meta(min_length=QUANTILES, max_length=QUANTILES)]


class DriftConfig(Struct):
    """The operator's `drift` section.

    Attributes:
        enabled: Whether cameras are judged by the release's baseline.
        every_s: One frame in so many seconds of each camera is measured.
        prove_hour: Hour of the day, local time, in which the golden set is run again; null for never.
    """

    enabled: bool = True
    every_s: PositiveFloat = 1.0
    prove_hour: Annotated[int, msgspec.Meta(ge=0, le=23)] | None = 3


class FigureRules(Struct):
    """Which frames the worker measures: one in so many seconds of each camera, objects from this score."""

    every_s: PositiveFloat
    confidence: Fraction


class FrameFigures(Struct):
    """Figures of one frame as the network sees it (scaled, without padding) and of what was found in it.

    Attributes:
        brightness: Mean grey level, 0-255.
        contrast: Standard deviation of the grey level.
        sharpness: Variance of the Laplacian of the grey picture.
        noise: Standard deviation of the pixels' noise, grey levels (Immerkær 1996).
        red: Mean of red by mean of green.
        blue: Mean of blue by mean of green.
        dark: Share of pixels with a grey level under 16.
        bright: Share of pixels with a grey level over 239.
        levels: Mean grey level of each cell of the grid, row by row.
        detail: Mean size of the Laplacian in each cell.
        doubts: Number of boxes whose score is too low for an object, and 0.1 at least: what the network half believes.
        scores: Score of each object, best first.
        sizes: Square root of the share of the picture that each object's box covers.
        labels: Class id of each object.
    """

    brightness: float
    contrast: float
    sharpness: float
    noise: float
    red: float
    blue: float
    dark: float
    bright: float
    levels: list[float]
    detail: list[float]
    doubts: float = 0.0
    scores: list[float] = []
    sizes: list[float] = []
    labels: list[int] = []


class PeriodBaseline(Struct):
    """How the figures of many frames are spread.

    Attributes:
        frames: How many frames it was made from.
        figures: Quantiles by figure; `objects` is their number in a frame.
        classes: Share of all objects, by class id; what was never found may lack at the end.
    """

    frames: Positive
    figures: dict[str, Quantiles]
    classes: list[Fraction] = []


class DriftBaseline(Struct):
    """What a release was made for: by variant, for `day` and `night` as far as its makers had pictures of them.

    Attributes:
        v: Version of the figures, 0 for no baseline.
        confidence: Least score of the objects that were counted.
        night_below: Frames whose brightness is less are of the night.
        variants: By variant id and period; a variant has its own input size, so its own sharpness and scores.
    """

    v: Counter = 0
    confidence: Fraction = 0.25
    night_below: float = 50.0
    variants: dict[Identifier, dict[str, PeriodBaseline]] = {}


class Change(Struct):
    """A figure that is spread otherwise than in the baseline.

    Attributes:
        figure: Its name.
        usual: Its median in the baseline.
        found: Its median in the window.
        psi: Population stability index.
        ks: Kolmogorov-Smirnov distance, in [0, 1].
    """

    figure: str
    usual: float
    found: float
    psi: float
    ks: float


class DriftReport(Struct):
    """What one camera shows, against what the model was made for.

    Attributes:
        name: The camera's.
        state: `learning` before the first full window, `steady`, or `drifted`.
        cause: Name of the likely cause, empty while steady.
        period: `day` or `night`.
        judged: Windows judged so far.
        changes: The figures that differ, the furthest first.
        found: Medians of the newest window by figure; `usual` are those of the baseline.
    """

    name: str
    state: str
    cause: str = ""
    period: str = ""
    judged: Counter = 0
    changes: list[Change] = []
    found: dict[str, float] = {}
    usual: dict[str, float] = {}


class DriftNotice(Struct):
    """A camera began to show something else than the model was made for, or another cause of it, or is steady again.

    At `…/drift`. `release` and `variant` say which baseline it was judged by.
    """

    v: int
    device: Identifier
    at_ms: UnixMs
    release: str
    variant: str
    report: DriftReport
