"""The two layouts of an Ultralytics head: one column for each anchor, or one row for each final box.

Behind box and scores a head may write extras of its task: key points, mask coefficients, an angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agent.vision.families.candidates import (
    above,
    corners,
    require_finite,
    wrong_classes,
    wrong_shape,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.vision.families import Float32, Head, Int32

_FINAL_FIELDS = 6


@dataclass(frozen=True)
class Candidates:
    """Objects at or above the threshold, not yet suppressed.

    Attributes:
        places: Boxes as the head writes them, in pixels of the input, shape (N, 4).
        scores: Shape (N,).
        labels: Class ids, shape (N,), int32.
        extras: What the task adds, as the head writes it, shape (N, E).
    """

    places: Float32
    scores: Float32
    labels: Int32
    extras: Float32


class Rows(Protocol):
    """Reads one layout; made once per model with its `Head`."""

    def read(self, output: Float32, extras: int, confidence: float) -> Candidates:
        """Return the candidates of an output that has `extras` values behind box and scores.

        Raises:
            ModelError: `model.shape`, `model.classes`, `model.not_finite` or `model.flood`.
        """
        ...

    def corners(self, places: Float32) -> Float32:
        """Return (x_min, y_min, x_max, y_max) of such places, shape (N, 4)."""
        ...


class AnchorRows:
    """v8 and 11: `(1, 4 + classes + extras, anchors)` with centre, sides and class scores."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def read(self, output: Float32, extras: int, confidence: float) -> Candidates:
        """See `Rows`."""
        rows = matrix(output, "(1, 4 + classes, anchors)")
        end = len(rows) - extras
        if end != 4 + self._head.classes:
            raise wrong_classes(self._head.classes, max(0, end - 4))
        scores = rows[4:end]
        best = scores.max(axis=0)
        chosen = above(best, confidence)
        labels = scores[:, chosen].argmax(axis=0).astype(np.int32)
        places = rows[:4, chosen].T * self._head.unit_px
        return Candidates(places, best[chosen], labels, _finite(rows[end:, chosen].T))

    def corners(self, places: Float32) -> Float32:
        """See `Rows`."""
        return corners(places)


class FinalRows:
    """v10 and 26: `(1, boxes, 6 + extras)` with corners, score and class (centre and sides where rotated)."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def read(self, output: Float32, extras: int, confidence: float) -> Candidates:
        """See `Rows`."""
        rows = matrix(output, "(1, boxes, 6)")
        if rows.shape[1] != _FINAL_FIELDS + extras:
            raise wrong_shape(f"(1, boxes, {_FINAL_FIELDS + extras})", output.shape)
        chosen = rows[above(rows[:, 4], confidence)]
        require_finite(chosen)
        labels = chosen[:, 5].astype(np.int32)
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._head.classes:
            raise wrong_classes(self._head.classes, int(labels.max()) + 1)
        return Candidates(
            chosen[:, :4] * self._head.unit_px, chosen[:, 4], labels, chosen[:, _FINAL_FIELDS:]
        )

    def corners(self, places: Float32) -> Float32:
        """See `Rows`."""
        return places


def matrix(output: Float32, expected: str) -> NDArray[np.float32]:
    """Return the only matrix of an output of shape (1, _, _).

    Raises:
        ModelError: `model.shape`.
    """
    match output.shape:
        case (1, _, _):
            rows: Float32 = output[0]
            return rows
        case shape:
            raise wrong_shape(expected, shape)


def _finite(extras: Float32) -> Float32:
    require_finite(extras)
    return extras
