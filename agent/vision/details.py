"""What a model says about its objects beyond boxes: key points, masks, rotated boxes, a ranking of classes.

Each is a value that a decoder makes in the pixels of the network's input and that `to_frame` carries into
the pixels of the camera's frame. Entry i belongs to box i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from agent.vision.image import Geometry

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Plane = NDArray[np.uint8]
# Corners of a simplified outline, and how far it may leave the mask, as a share of its own length.
MAX_OUTLINE_POINTS = 64
_FIRST_TOLERANCE = 0.002
_PLANE_AXES = 2


@dataclass(frozen=True)
class Keypoints:
    """Named points of each object, such as the joints of a person.

    Attributes:
        xy: Shape (N, K, 2), float32, pixels.
        scores: How sure the network is of each, shape (N, K), float32 in [0, 1]; 1 where it does not say.
    """

    xy: Float32
    scores: Float32

    def __post_init__(self) -> None:
        _expect(self.xy.shape[2:] == (2,), "xy (N, K, 2)", self.xy)
        _expect(self.scores.shape == self.xy.shape[:2], "scores (N, K)", self.scores)

    def __len__(self) -> int:
        return len(self.xy)

    def to_frame(self, geometry: Geometry) -> Keypoints:
        """Return the points in the frame's pixels, clipped to it."""
        return replace(self, xy=geometry.points_to_frame(self.xy, clip=True))


@dataclass(frozen=True)
class Masks:
    """Which pixels belong to each object, as a raster of the network's resolution inside its box.

    The pixel (row, column) of window i covers the square from `origins[i] + (column, row) * pixel` on.

    Attributes:
        windows: One for each object, shape (h, w), uint8, 1 where the object is.
        origins: Upper left corner (x, y) of each window, shape (N, 2), float32, pixels.
        pixel: Width and height of one raster pixel, shape (2,), float32.
    """

    windows: tuple[Plane, ...]
    origins: Float32
    pixel: Float32

    def __post_init__(self) -> None:
        _expect(self.origins.shape == (len(self.windows), 2), "origins (N, 2)", self.origins)
        _expect(self.pixel.shape == (2,), "pixel (2,)", self.pixel)
        for window in self.windows:
            _expect(window.ndim == _PLANE_AXES, "windows (h, w)", window)

    def __len__(self) -> int:
        return len(self.windows)

    def to_frame(self, geometry: Geometry) -> Masks:
        """Return the masks placed in the frame, without what lies in the letterbox's padding."""
        low = np.array([geometry.left, geometry.top])
        high = low + np.array([geometry.width, geometry.height])
        corners = self.origins.astype(np.int64)
        windows = []
        for window, corner in zip(self.windows, corners, strict=True):
            first = np.maximum(low - corner, 0)
            end = np.maximum(high - corner, 0)
            windows.append(window[first[1] : end[1], first[0] : end[0]])
        origins = np.maximum(corners, low).astype(np.float32)
        return Masks(
            tuple(windows),
            geometry.points_to_frame(origins, clip=False),
            self.pixel * geometry.frame_pixels,
        )

    def outline(self, index: int, max_points: int = MAX_OUTLINE_POINTS) -> Float32:
        """Return the corners of the largest outline of mask `index`, shape (P, 2), P <= `max_points`.

        Shape (0, 2) where the mask is empty. It is simplified (Douglas-Peucker) until it is short enough.
        """
        window = self.windows[index]
        if not window.any():
            return np.empty((0, 2), np.float32)
        contours = cv2.findContours(window, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        largest = max(contours, key=cv2.contourArea)
        tolerance = _FIRST_TOLERANCE * cv2.arcLength(largest, closed=True)
        points: Any = largest
        while len(points) > max_points:
            points = cv2.approxPolyDP(largest, tolerance, closed=True)
            tolerance *= 2
        # A contour runs through the centres of its pixels.
        placed: Float32 = self.origins[index] + (points[:, 0] + np.float32(0.5)) * self.pixel
        return placed

    def picture(self, index: int, width: int, height: int) -> Plane:
        """Return mask `index` as a whole frame, shape (height, width), uint8, 1 where the object is."""
        size = self.pixel * self.windows[index].shape[::-1]
        start = np.rint(self.origins[index]).astype(int).clip(0, (width, height))
        end = np.rint(self.origins[index] + size).astype(int).clip(0, (width, height))
        canvas = np.zeros((height, width), np.uint8)
        columns, rows = (end - start).tolist()
        if columns and rows:
            place = (slice(start[1], end[1]), slice(start[0], end[0]))
            window = self.windows[index]
            canvas[place] = cv2.resize(window, (columns, rows), interpolation=cv2.INTER_NEAREST)
        return canvas


@dataclass(frozen=True)
class Rotated:
    """Boxes turned about their centres.

    Attributes:
        xywhr: Centre, sides and angle, shape (N, 5), float32, pixels and radians. The side `w` points along
            (cos r, sin r); y points downwards, so angles grow clockwise.
    """

    xywhr: Float32

    def __post_init__(self) -> None:
        _expect(self.xywhr.shape[1:] == (5,), "xywhr (N, 5)", self.xywhr)

    def __len__(self) -> int:
        return len(self.xywhr)

    def to_frame(self, geometry: Geometry) -> Rotated:
        """Return the boxes in the frame's pixels; they may reach beyond it."""
        centres = geometry.points_to_frame(self.xywhr[:, :2], clip=False)
        sides = self.xywhr[:, 2:4] * geometry.frame_pixels
        return Rotated(np.concatenate([centres, sides, self.xywhr[:, 4:]], axis=1))

    def corners(self) -> Float32:
        """Return the four corners of each box, one after the other round it, shape (N, 4, 2)."""
        x_y, sides, angle = self.xywhr[:, None, :2], self.xywhr[:, 2:4] / 2, self.xywhr[:, 4]
        cos, sin = np.cos(angle), np.sin(angle)
        along = np.stack([cos, sin], axis=1) * sides[:, :1]
        across = np.stack([-sin, cos], axis=1) * sides[:, 1:]
        offsets = [along + across, along - across, -along - across, across - along]
        placed: Float32 = x_y + np.stack(offsets, axis=1)
        return placed

    def bounds(self) -> Float32:
        """Return the upright box (x_min, y_min, x_max, y_max) round each, shape (N, 4)."""
        corners = self.corners()
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


@dataclass(frozen=True)
class Ranking:
    """The classes that a whole picture most likely belongs to, best first.

    Attributes:
        labels: Class ids, shape (K,), int32.
        scores: Probabilities, shape (K,), float32 in [0, 1].
    """

    labels: Int32
    scores: Float32

    def __post_init__(self) -> None:
        _expect(self.labels.ndim == 1, "labels (K,)", self.labels)
        _expect(self.scores.shape == self.labels.shape, "scores (K,)", self.scores)

    def to_frame(self, geometry: Geometry) -> Ranking:
        """Return the same ranking: it has no place in the picture."""
        del geometry
        return self


Details: TypeAlias = Keypoints | Masks | Rotated | Ranking


def check_parallel(boxes: Float32, scores: Float32, labels: Int32, details: Details | None) -> None:
    """Refuse arrays of objects that do not belong together.

    Raises:
        ValueError: With the expected and the actual shape.
    """
    count = len(scores)
    _expect(scores.shape == (count,), "scores (N,)", scores)
    _expect(boxes.shape == (count, 4), f"boxes ({count}, 4)", boxes)
    _expect(labels.shape == (count,), f"labels ({count},)", labels)
    if details is not None and not isinstance(details, Ranking) and len(details) != count:
        raise ValueError(f"expected details of {count} objects, found {len(details)}")


def _expect(good: bool, expected: str, found: NDArray[Any]) -> None:  # noqa: FBT001 - a condition
    if not good:
        raise ValueError(f"expected {expected}, found {found.shape}")
