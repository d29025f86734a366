"""Scaling a picture down without aliasing, as Pillow does and classifiers are trained with.

Each pixel of the result is the mean of the source under a triangle as wide as two of its own pixels, first along
rows, then along columns, rounded in between (Pillow, src/libImaging/Resample.c, BILINEAR). `cv2.resize`
only looks at the four nearest pixels and gives other probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Taps:
    """Which source pixels make up each pixel of one side of the result, and with what weight.

    Attributes:
        places: Source pixel of each tap, shape (taps, N).
        weights: Shape (taps, N), float32; a column adds up to 1.
    """

    places: NDArray[np.intp]
    weights: NDArray[np.float32]


def triangle_taps(source: int, target: int, first: int, count: int) -> Taps:
    """Return the taps of the pixels `first` to `first + count` of a side scaled from `source` to `target`."""
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(first, first + count) + 0.5) * scale
    start = np.maximum((centres - reach + 0.5).astype(int), 0)
    end = np.minimum((centres + reach + 0.5).astype(int), source)
    places = start + np.arange((end - start).max())[:, None]
    weights = np.maximum(1 - np.abs((places + 0.5 - centres) / reach), 0) * (places < end)
    weights /= weights.sum(axis=0)
    return Taps(np.minimum(places, source - 1), weights.astype(np.float32))


def resample(frame: Frame, rows: Taps, columns: Taps) -> Frame:
    """Return the picture (H, W, 3) that the taps make of a frame, shape (rows, columns, 3)."""
    narrowed = _weighed(np.ascontiguousarray(frame.transpose(1, 0, 2)), columns)
    return _weighed(np.ascontiguousarray(narrowed.transpose(1, 0, 2)), rows)


def _weighed(source: Frame, taps: Taps) -> Frame:
    """Return the weighted means along the first axis, rounded, shape (N, …)."""
    total = np.full((taps.places.shape[1], *source.shape[1:]), np.float32(0.5))
    for places, weights in zip(taps.places, taps.weights, strict=True):
        total += source[places] * weights[:, None, None]
    # Weights are positive and add up to 1: no value leaves 0-255.
    return total.astype(np.uint8)
