"""From a camera's frame into the network's input, and boxes back again.

The frame is scaled straight to its place in the letterbox. A pixel has only 256 values, so colour scale,
quantisation and type are one table, applied by `cv2.LUT` into the runtime's own buffer; the padding is
painted only when the geometry changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.schema.manifest import InputSpec
    from agent.vision.backends import TensorInfo

Frame = NDArray[np.uint8]
Float32 = NDArray[np.float32]

_PLACEMENTS = {"center": 0.5, "top-left": 0.0}
_CHANNELS = {"rgb": (2, 1, 0), "bgr": (0, 1, 2)}
# cv2 has no int8 or float16 tables, but copies their bits all the same.
_CARRIERS: Mapping[int, type[np.generic]] = {1: np.uint8, 2: np.uint16, 4: np.float32}


@dataclass(frozen=True)
class Geometry:
    """Where a frame lies in the network's input; all in pixels.

    Attributes:
        frame_width: Width of the camera's frame.
        frame_height: Height of the camera's frame.
        width: Width of the scaled frame inside the input.
        height: Height of the scaled frame inside the input.
        left: Padding to its left.
        top: Padding above it.
    """

    frame_width: int
    frame_height: int
    width: int
    height: int
    left: int
    top: int

    def to_frame(self, xyxy: Float32) -> Float32:
        """Return boxes of the input, shape (N, 4), in the frame's pixels and clipped to it."""
        origin = np.array([self.left, self.top] * 2, np.float32)
        ratio = np.array(
            [self.frame_width / self.width, self.frame_height / self.height] * 2, np.float32
        )
        limit = np.array([self.frame_width, self.frame_height] * 2, np.float32)
        clipped: Float32 = np.clip((xyxy - origin) * ratio, np.float32(0), limit)
        return clipped

    def to_input(self, xyxy: Float32) -> Float32:
        """Return boxes of the frame, shape (N, 4), in the input's pixels."""
        ratio = np.array(
            [self.width / self.frame_width, self.height / self.frame_height] * 2, np.float32
        )
        return xyxy * ratio + np.array([self.left, self.top] * 2, np.float32)


def fit(frame_width: int, frame_height: int, spec: InputSpec) -> Geometry:
    """Return how a frame is letterboxed: the largest scaled frame of the same shape that fits `spec`.

    Raises:
        ModelError: `model.input` for an unknown placement.
    """
    scale = min(spec.width / frame_width, spec.height / frame_height)
    width = min(spec.width, max(1, round(frame_width * scale)))
    height = min(spec.height, max(1, round(frame_height * scale)))
    share = _known(_PLACEMENTS, spec.letterbox, "letterbox")
    # A half pixel of padding goes to the far side, as Ultralytics' LetterBox does.
    left = round((spec.width - width) * share - 0.1)
    top = round((spec.height - height) * share - 0.1)
    return Geometry(frame_width, frame_height, width, height, left, top)


class Letterbox:
    """Fills a runtime's input buffer from frames of any size.

    Args:
        spec: What the network expects.
        tensor: The runtime's input tensor: shape, type, quantisation.
        buffer: Array of that shape and type, filled in place.

    Raises:
        ModelError: `model.input` when tensor and spec do not fit each other.
    """

    def __init__(self, spec: InputSpec, tensor: TensorInfo, buffer: NDArray[Any]) -> None:
        _check_shape(spec, tensor)
        table = pixel_table(spec, tensor)
        carrier = _CARRIERS[table.dtype.itemsize]
        self._spec = spec
        self._table: NDArray[Any] = table.view(carrier)
        self._target: NDArray[Any] = buffer.view(carrier)[0]
        self._channels = _known(_CHANNELS, spec.colour, "colour")
        layouts: dict[str, Callable[[Frame, Geometry], None]] = {
            "nchw": self._fill_planes,
            "nhwc": self._fill_pixels,
        }
        self._paint = _known(layouts, spec.layout, "layout")
        self._geometry: Geometry | None = None
        self._scaled: Frame = np.empty((0, 0, 3), np.uint8)

    def fill(self, frame: Frame) -> Geometry:
        """Put a BGR frame, shape (H, W, 3), into the buffer and return where it lies."""
        height, width = frame.shape[:2]
        geometry = self._geometry
        if geometry is None or (geometry.frame_width, geometry.frame_height) != (width, height):
            geometry = self._adopt(fit(width, height, self._spec))
        scaled = frame
        if (geometry.width, geometry.height) != (width, height):
            size = (geometry.width, geometry.height)
            cv2.resize(frame, size, dst=self._scaled, interpolation=cv2.INTER_LINEAR)
            scaled = self._scaled
        self._paint(scaled, geometry)
        return geometry

    def _adopt(self, geometry: Geometry) -> Geometry:
        self._geometry = geometry
        self._scaled = np.empty((geometry.height, geometry.width, 3), np.uint8)
        self._target[...] = self._table[self._spec.pad_value]
        return geometry

    def _fill_planes(self, scaled: Frame, place: Geometry) -> None:
        rows = slice(place.top, place.top + place.height)
        columns = slice(place.left, place.left + place.width)
        planes = cv2.split(scaled)
        for target, channel in zip(self._target, self._channels, strict=True):
            cv2.LUT(planes[channel], self._table, dst=target[rows, columns])

    def _fill_pixels(self, scaled: Frame, place: Geometry) -> None:
        rows = slice(place.top, place.top + place.height)
        columns = slice(place.left, place.left + place.width)
        ordered = scaled if self._spec.colour == "bgr" else cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB)
        cv2.LUT(ordered, self._table, dst=self._target[rows, columns])


def pixel_table(spec: InputSpec, tensor: TensorInfo) -> NDArray[Any]:
    """Return the tensor value of each pixel value 0-255, shape (256,), in the tensor's type.

    Real value = pixel * `spec.scale`; a quantised tensor holds round(real / scale) + zero_point.

    Raises:
        ModelError: `model.input` for an integer tensor without quantisation that pixels do not fit.
    """
    real = np.arange(256) * spec.scale
    if np.issubdtype(tensor.dtype, np.floating):
        return real.astype(tensor.dtype)
    if tensor.dtype not in (np.uint8, np.int8):
        raise _mismatch("a float, int8 or uint8 input", str(tensor.dtype))
    if not tensor.scale:
        if tensor.dtype == np.uint8:
            return np.arange(256, dtype=np.uint8)
        raise _mismatch("an int8 input with scale and zero point", "none")
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(real / tensor.scale) + tensor.zero_point
    table: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
    return table


def _check_shape(spec: InputSpec, tensor: TensorInfo) -> None:
    shapes = {
        "nchw": (1, 3, spec.height, spec.width),
        "nhwc": (1, spec.height, spec.width, 3),
    }
    expected = _known(shapes, spec.layout, "layout")
    if tensor.shape != expected:
        raise _mismatch(f"input {expected}", str(tensor.shape))
    if spec.pad_value not in range(256):
        raise _mismatch("pad_value in 0-255", str(spec.pad_value))


def _known(table: Mapping[str, Any], name: str, field: str) -> Any:
    if name not in table:
        raise _mismatch(f"{field} {' or '.join(table)}", repr(name))
    return table[name]


def _mismatch(expected: str, found: str) -> ModelError:
    return ModelError(
        f"expected {expected}, found {found}",
        code="model.input",
        hint="correct the variant's input in the manifest",
    )
