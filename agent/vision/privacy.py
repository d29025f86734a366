"""What must never leave memory: masks are blackened before anything looks at a frame, objects are blurred after.

Rules
- A mask is applied by the camera's own thread, before the model, the tracker or any picture sees the frame.
- Only `Redactor.show` makes a `SafePicture`, and only a `SafePicture` is ever encoded: live view, snapshots,
  thumbnails and clips.
- Every detection of a class to blur is blurred, also one too faint to be reported, and its place stays blurred
  for `_HOLD_MS`, so that one missed frame shows nothing.
- Closed by default: while a camera has classes to blur that the model does not know, or a frame's inference
  failed, there is no picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.schema.zones import PrivacyConfig
    from agent.vision.cameras import Frame
    from agent.vision.detector import Detected

    Image = NDArray[np.uint8]

_HOLD_MS = 700.0
_HELD_EVERY_MS = 200.0
# An object of any size is left with so many blocks along its longer side: no face, no number plate.
_BLOCKS = 6


@dataclass(frozen=True)
class SafePicture:
    """A picture that may leave memory; `image` is BGR, shape (H, W, 3), uint8, and nobody writes to it."""

    image: Image
    index: int
    captured_ms: int


class Redactor:
    """Applies one camera's privacy settings; `labels` are the model's class names."""

    def __init__(self, config: PrivacyConfig, labels: Sequence[str]) -> None:
        self._polygons = [np.array(mask.polygon, np.float64) for mask in config.masks]
        self._stencil: NDArray[np.bool_] | None = None
        self._margin = config.blur_margin
        unknown = [label for label in config.blur if label not in labels]
        self._blurred = [index for index, label in enumerate(labels) if label in config.blur]
        self._is_blurring = bool(config.blur)
        self._held: list[tuple[float, NDArray[np.float32]]] = []
        self.problem = _unknown_text(unknown, labels) if unknown else ""

    def mask(self, frame: Frame) -> Frame:
        """Return the frame with its masks blackened; the same one where there are none."""
        if not self._polygons:
            return frame
        shape = frame.image.shape
        if self._stencil is None or self._stencil.shape != shape[:2]:
            self._stencil = _stencil(self._polygons, shape[1], shape[0])
        image = frame.image.copy()
        image[self._stencil] = 0
        return replace(frame, image=image)

    def show(self, frame: Frame, detected: Detected | None) -> SafePicture | None:
        """Return what may be seen of a masked frame; None when nobody can say what must not be."""
        if not self._is_blurring:
            return SafePicture(frame.image, frame.index, frame.captured_ms)
        if self.problem or detected is None:
            return None
        now_ms = frame.captured_ns / 1e6
        chosen = detected.boxes[np.isin(detected.labels, self._blurred)]
        self._held = [(at, boxes) for at, boxes in self._held if now_ms - at <= _HOLD_MS]
        if len(chosen):
            self._hold(now_ms, chosen)
        if not self._held:
            return SafePicture(frame.image, frame.index, frame.captured_ms)
        image = frame.image.copy()
        for box in np.concatenate([boxes for _, boxes in self._held]):
            _coarsen(image, box, self._margin)
        return SafePicture(image, frame.index, frame.captured_ms)

    def _hold(self, now_ms: float, boxes: NDArray[np.float32]) -> None:
        """Remember where objects are: the newest places always, older ones only a few times a second."""
        if len(self._held) > 1 and self._held[-1][0] - self._held[-2][0] < _HELD_EVERY_MS:
            self._held.pop()
        self._held.append((now_ms, boxes))


def _stencil(polygons: Sequence[NDArray[np.float64]], width: int, height: int) -> NDArray[np.bool_]:
    """Return where a frame is masked, shape (H, W): every pixel that a polygon touches."""
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.rint(polygon * (width - 1, height - 1)).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1)
    return cast("NDArray[np.bool_]", cv2.dilate(canvas, np.ones((3, 3), np.uint8)).astype(bool))


def _coarsen(image: Image, box: NDArray[np.float32], margin: float) -> None:
    """Leave a box of an image, in place, with a few blocks of mean colour."""
    height, width = image.shape[:2]
    more = margin * (box[2:] - box[:2])
    low = np.clip(np.floor(box[:2] - more), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(box[2:] + more), 0, (width, height)).astype(int)
    size = high - low
    if size.min() <= 0:
        return
    window = image[low[1] : high[1], low[0] : high[0]]
    blocks = np.maximum(size * _BLOCKS // size.max(), 1)
    small = cv2.resize(window, (int(blocks[0]), int(blocks[1])), interpolation=cv2.INTER_AREA)
    window[:] = cv2.resize(small, (int(size[0]), int(size[1])), interpolation=cv2.INTER_NEAREST)


def _unknown_text(unknown: Sequence[str], labels: Sequence[str]) -> str:
    wanted, known = ", ".join(unknown), ", ".join(labels[:20])
    return f"no pictures: privacy.blur names {wanted}, which the model does not know ({known})"
