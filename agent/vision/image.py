"""From a camera's frame into the network's input, and boxes back again.

The frame is scaled straight to its place in the letterbox. A pixel has only 256 values, so colour scale,
quantisation and type are one table, applied by `cv2.LUT` into the runtime's own buffer; the padding is
painted only when the geometry changes. Classifiers take the middle of the frame instead (`fit` `crop`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.vision.resample import Taps, resample, triangle_taps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    @property
    def frame_pixels(self) -> Float32:
        """Return how many pixels of the frame one pixel of the input is, (x, y), shape (2,)."""
        return np.array(
            [self.frame_width / self.width, self.frame_height / self.height], np.float32
        )

    def points_to_frame(self, xy: Float32, *, clip: bool) -> Float32:
        """Return points of the input, shape (..., 2), in the frame's pixels, clipped to it on request."""
        origin = np.array([self.left, self.top], np.float32)
        placed: Float32 = (xy - origin) * self.frame_pixels
        if clip:
            limit = np.array([self.frame_width, self.frame_height], np.float32)
            placed = np.clip(placed, np.float32(0), limit)
        return placed

    def to_frame(self, xyxy: Float32) -> Float32:
        """Return boxes of the input, shape (N, 4), in the frame's pixels and clipped to it."""
        return self.points_to_frame(xyxy.reshape(-1, 2, 2), clip=True).reshape(-1, 4)

    def to_input(self, xyxy: Float32) -> Float32:
        """Return boxes of the frame, shape (N, 4), in the input's pixels."""
        ratio = np.array(
            [self.width / self.frame_width, self.height / self.frame_height] * 2, np.float32
        )
        return xyxy * ratio + np.array([self.left, self.top] * 2, np.float32)


def fit(frame_width: int, frame_height: int, spec: InputSpec) -> Geometry:
    """Return how a frame is scaled and placed: by `spec.fit` inside the input, or so that it covers the input.

    Raises:
        ModelError: `model.input` for an unknown fit or placement.
    """
    place = _known({"letterbox": _letterboxed, "crop": _cropped}, spec.fit, "fit")
    geometry: Geometry = place(frame_width, frame_height, spec)
    return geometry


def _letterboxed(frame_width: int, frame_height: int, spec: InputSpec) -> Geometry:
    """Return the largest scaled frame of the same shape that fits the input."""
    scale = min(spec.width / frame_width, spec.height / frame_height)
    width = min(spec.width, max(1, round(frame_width * scale)))
    height = min(spec.height, max(1, round(frame_height * scale)))
    share = _known(_PLACEMENTS, spec.letterbox, "letterbox")
    # A half pixel of padding goes to the far side, as Ultralytics' LetterBox does.
    left = round((spec.width - width) * share - 0.1)
    top = round((spec.height - height) * share - 0.1)
    return Geometry(frame_width, frame_height, width, height, left, top)


def _cropped(frame_width: int, frame_height: int, spec: InputSpec) -> Geometry:
    """Return the smallest scaled frame that covers a square input, its middle in the input's.

    An input that is not square takes the frame distorted. Rounding is that of torchvision's Resize and
    CenterCrop, as in Ultralytics' `classify_transforms`.
    """
    if spec.width != spec.height:
        return Geometry(frame_width, frame_height, spec.width, spec.height, 0, 0)
    side, shorter = spec.width, min(frame_width, frame_height)
    width, height = (side * length // shorter for length in (frame_width, frame_height))
    left, top = (-round((length - side) / 2) for length in (width, height))
    return Geometry(frame_width, frame_height, width, height, left, top)


@dataclass(frozen=True)
class Scaled:
    """The part of a frame that lies in the network's input, in its size there.

    Attributes:
        image: BGR, shape (H, W, 3), uint8.
        geometry: Where it lies.
        spent_ms: What scaling it took.
    """

    image: Frame
    geometry: Geometry
    spent_ms: float


class Scaler:
    """Scales frames of any size for one input; for use by one thread, which need not be the runtime's."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._geometry: Geometry | None = None
        self._taps: tuple[Taps, Taps] | None = None

    def scale(self, frame: Frame) -> Scaled:
        """Scale a BGR frame, shape (H, W, 3), into an array of its own."""
        started = time.perf_counter_ns()
        height, width = frame.shape[:2]
        geometry = self._geometry
        if geometry is None or (geometry.frame_width, geometry.frame_height) != (width, height):
            geometry = self._adopt(fit(width, height, self._spec))
        image = self._resize(frame, geometry)
        return Scaled(image, geometry, (time.perf_counter_ns() - started) / 1e6)

    def _resize(self, frame: Frame, geometry: Geometry) -> Frame:
        if self._taps:
            return resample(frame, *self._taps)
        size = (geometry.width, geometry.height)
        if size == (geometry.frame_width, geometry.frame_height):
            return frame
        # The stubs cannot say that a uint8 picture stays one.
        return cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def _adopt(self, geometry: Geometry) -> Geometry:
        self._geometry = geometry
        if self._spec.fit == "crop":
            g, spec = geometry, self._spec
            rows = triangle_taps(g.frame_height, g.height, -g.top, spec.height)
            self._taps = (rows, triangle_taps(g.frame_width, g.width, -g.left, spec.width))
        return geometry


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
        self._scaler = Scaler(spec)
        self._table: NDArray[Any] = table.view(carrier)
        self._target: NDArray[Any] = buffer.view(carrier)[0]
        self._channels = _known(_CHANNELS, spec.colour, "colour")
        layouts: dict[str, Callable[[Frame, Geometry], None]] = {
            "nchw": self._fill_planes,
            "nhwc": self._fill_pixels,
        }
        self._layout = _known(layouts, spec.layout, "layout")
        self._geometry: Geometry | None = None
        self._planes: Sequence[cv2.typing.MatLike] = ()

    def fill(self, frame: Frame) -> Geometry:
        """Put a BGR frame, shape (H, W, 3), into the buffer and return where it lies."""
        return self.paint(self.scale(frame))

    def scale(self, frame: Frame) -> Scaled:
        """Scale a BGR frame, shape (H, W, 3), in the thread that paints it."""
        return self._scaler.scale(frame)

    def paint(self, scaled: Scaled) -> Geometry:
        """Put a scaled frame into the buffer, with padding round it where it lies elsewhere than the last."""
        if scaled.geometry != self._geometry:
            self._geometry = scaled.geometry
            self._target[...] = self._table[self._spec.pad_value]
        self._layout(scaled.image, scaled.geometry)
        return scaled.geometry

    def _slices(self, place: Geometry) -> tuple[slice, slice]:
        """Return the rows and columns of the input that the frame covers."""
        rows = slice(max(0, place.top), min(self._spec.height, place.top + place.height))
        columns = slice(max(0, place.left), min(self._spec.width, place.left + place.width))
        return rows, columns

    def _fill_planes(self, scaled: Frame, place: Geometry) -> None:
        rows, columns = self._slices(place)
        # Planes of the same size are written to again.
        self._planes = cv2.split(scaled, self._planes)
        for target, channel in zip(self._target, self._channels, strict=True):
            cv2.LUT(self._planes[channel], self._table, dst=target[rows, columns])

    def _fill_pixels(self, scaled: Frame, place: Geometry) -> None:
        rows, columns = self._slices(place)
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
