"""The best picture of each object: surest, largest, whole; encoded when it is clearly better than the last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.schema.events import PictureKind, SnapshotFacts
from agent.vision.events import rounded
from agent.vision.picture import encode_jpeg

if TYPE_CHECKING:
    from agent.schema.recording import SnapshotConfig
    from agent.vision.events import Life
    from agent.vision.privacy import SafePicture

_BETTER = 1.15
_LEAST_GAP_MS = 500.0
_AT_BORDER = 0.3
_BORDER = 0.005
_THUMBNAIL = 176
_THUMBNAIL_QUALITY = 75


@dataclass
class _Best:
    worth: float
    at_ms: float
    snapshot: bytes
    thumbnail: bytes
    sent: bool = False


class Album:
    """Keeps the best picture of every object of one camera until it is sent."""

    def __init__(self, config: SnapshotConfig) -> None:
        self._config = config
        self._best: dict[int, _Best] = {}

    def consider(self, life: Life, picture: SafePicture, now_ms: float) -> None:
        """Take `picture`, in which the object is, if it is clearly better than what there is."""
        if not self._config.enabled:
            return
        track, best = life.sighting.track, self._best.get(life.sighting.track)
        value = worth(life.sighting.score, life.sighting.box, picture.image.shape)
        if best and (value < best.worth * _BETTER or now_ms - best.at_ms < _LEAST_GAP_MS):
            return
        snapshot = encode_jpeg(picture, self._config.max_width, self._config.quality)
        self._best[track] = _Best(value, now_ms, snapshot, thumbnail(picture, life.sighting.box))
        life.snapshot = SnapshotFacts(
            at_ms=picture.captured_ms,
            score=round(life.sighting.score, 4),
            box=rounded(life.sighting.box),
        )

    def unsent(self, life: Life) -> list[tuple[PictureKind, bytes]]:
        """Return the object's pictures that were not sent yet, and count them as sent."""
        best = self._best.get(life.sighting.track)
        if best is None or best.sent:
            return []
        pictures = [
            (PictureKind.SNAPSHOT, best.snapshot),
            (PictureKind.THUMBNAIL, best.thumbnail),
        ]
        best.sent, best.snapshot, best.thumbnail = True, b"", b""
        return pictures

    def forget(self, life: Life) -> None:
        """An object is gone and told of."""
        self._best.pop(life.sighting.track, None)


def worth(score: float, box: tuple[float, float, float, float], shape: tuple[int, ...]) -> float:
    """Return how good a picture of an object is: its score times its share of the picture, less at the border."""
    height, width = shape[:2]
    share = (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
    cut = (
        box[0] <= _BORDER * width
        or box[1] <= _BORDER * height
        or box[2] >= (1 - _BORDER) * width
        or box[3] >= (1 - _BORDER) * height
    )
    return score * share * (_AT_BORDER if cut else 1.0)


def thumbnail(picture: SafePicture, box: tuple[float, float, float, float]) -> bytes:
    """Return a square JPEG round a box (pixels), as far as the picture reaches."""
    height, width = picture.image.shape[:2]
    side = min(max(box[2] - box[0], box[3] - box[1]) * 1.2 + 8, width, height)
    x = min(max((box[0] + box[2] - side) / 2, 0), width - side)
    y = min(max((box[1] + box[3] - side) / 2, 0), height - side)
    window = picture.image[int(y) : int(y + side), int(x) : int(x + side)]
    small = np.empty((_THUMBNAIL, _THUMBNAIL, 3), np.uint8)
    cv2.resize(window, (_THUMBNAIL, _THUMBNAIL), small, interpolation=cv2.INTER_AREA)
    return encode_jpeg(replace(picture, image=small), _THUMBNAIL, _THUMBNAIL_QUALITY)
