"""Figures of a frame and of what was found in it, for the question whether the model is still in its element."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.schema.drift import GRID, FigureRules, FrameFigures
from agent.vision.tracking import LOW_CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.vision.detector import Detected
    from agent.vision.image import Scaled

# Objects of one frame that count; scores are best first.
_MOST_OBJECTS = 50
_DARK, _BRIGHT = 16, 239
# Takes away edges and leaves noise: J. Immerkær, Fast Noise Variance Estimation, 1996.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_NOISE_FACTOR = math.sqrt(math.pi / 2) / 6


class FigureClock:
    """Says which frames of one camera are measured.

    Args:
        rules: How many; None for none.
    """

    def __init__(self, rules: FigureRules | None) -> None:
        self._every_ns = int(rules.every_s * 1e9) if rules else 0
        self._due_ns = 0

    def is_due(self, captured_ns: int) -> bool:
        """Return whether the frame of this monotonic instant is measured; asked once a frame."""
        if not self._every_ns or captured_ns < self._due_ns:
            return False
        self._due_ns = captured_ns + self._every_ns
        return True


def figures_of(scaled: Scaled, detected: Detected, confidence: float) -> FrameFigures:
    """Return the figures of a frame; boxes with a score under `confidence` are no objects but doubts.

    The detector must have looked for scores down to `LOW_CONFIDENCE`.
    """
    image = scaled.image
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    histogram = np.bincount(grey.ravel(), minlength=256) / grey.size
    blue, green, red = (max(float(mean), 1.0) for mean in cv2.mean(image)[:3])
    mean, deviation = (float(one[0, 0]) for one in cv2.meanStdDev(grey))
    edges = cv2.Laplacian(grey, cv2.CV_32F)
    noise = cv2.filter2D(grey, cv2.CV_32F, _NOISE_KERNEL)
    doubtful = (detected.scores >= LOW_CONFIDENCE) & (detected.scores < confidence)
    kept = (detected.scores >= confidence).nonzero()[0][:_MOST_OBJECTS]
    return FrameFigures(
        brightness=round(mean, 2),
        contrast=round(deviation, 2),
        sharpness=round(float(edges.var()), 2),
        noise=round(_NOISE_FACTOR * float(cv2.norm(noise, cv2.NORM_L1)) / noise.size, 3),
        red=round(red / green, 4),
        blue=round(blue / green, 4),
        dark=round(float(histogram[:_DARK].sum()), 4),
        bright=round(float(histogram[_BRIGHT + 1 :].sum()), 4),
        levels=_cells(grey),
        detail=_cells(np.abs(edges)),
        doubts=float(doubtful.sum()),
        scores=[round(float(score), 4) for score in detected.scores[kept]],
        sizes=_sizes(detected.boxes[kept], scaled),
        labels=detected.labels[kept].tolist(),
    )


def _cells(plane: NDArray[np.generic] | cv2.typing.MatLike) -> list[float]:
    """Return the mean of each cell of the grid, row by row."""
    rows, columns = GRID
    cells = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[arg-type]
    return [round(float(cell), 2) for cell in cells.ravel()]


def _sizes(boxes: NDArray[np.float32], scaled: Scaled) -> list[float]:
    place = scaled.geometry
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    shares = sides.prod(axis=1) / (place.frame_width * place.frame_height)
    return [round(math.sqrt(float(share)), 4) for share in shares]
