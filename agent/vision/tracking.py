"""Stable object ids over frames: ByteTrack (Zhang et al., ECCV 2022) as `edgefirst-tracker` implements it.

Boxes below the detection threshold cannot begin a track but may continue one, so a person half behind a
tree keeps the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from edgefirst.tracker import ByteTrack

if TYPE_CHECKING:
    from agent.vision.detector import Detected

# Detections down to this score may continue a track.
LOW_CONFIDENCE = 0.1
_MIN_IOU = 0.1
_LOST_AFTER_NS = 1_500_000_000
# Weight of the newest box in the track's motion. The library's 0.25 loses whatever moves a third of its
# own width from frame to frame.
_FOLLOW = 0.8


class Sighting(NamedTuple):
    """One box of a frame and the track it belongs to; `track` is 0 when it belongs to none.

    `box` is (x_min, y_min, x_max, y_max) in the frame's pixels.
    """

    track: int
    label: int
    score: float
    box: tuple[float, float, float, float]


class Tracker:
    """Tracks the objects of one camera; objects of different classes never share a track.

    Args:
        confidence: Least score that begins a track.
    """

    def __init__(self, confidence: float) -> None:
        self._tracks = ByteTrack(
            high_conf=confidence, iou=_MIN_IOU, update=_FOLLOW, lifespan_ns=_LOST_AFTER_NS
        )
        self._numbers: dict[str, int] = {}
        self._last = 0

    def update(self, detected: Detected, at_ns: int, width: int) -> list[Sighting]:
        """Return the boxes of a frame `width` pixels wide with their tracks, in the order of `detected`."""
        # The library knows no classes: each gets a picture of its own beside the others.
        lanes = (detected.labels * (4 * width)).astype(np.float32)
        boxes = detected.boxes.copy()
        boxes[:, [0, 2]] += lanes[:, None]
        tracks = self._tracks.update(
            boxes, detected.scores, detected.labels.astype(np.uint64), at_ns
        )
        numbers = [0 if track is None else self._number(track.uuid) for track in tracks]
        self._forget()
        return [
            Sighting(number, int(label), float(score), tuple(box.tolist()))
            for number, label, score, box in zip(
                numbers, detected.labels, detected.scores, detected.boxes, strict=True
            )
        ]

    def _number(self, uuid: str) -> int:
        if uuid not in self._numbers:
            self._last += 1
            self._numbers[uuid] = self._last
        return self._numbers[uuid]

    def _forget(self) -> None:
        alive = {track.info.uuid for track in self._tracks.get_active_tracks()}
        self._numbers = {uuid: number for uuid, number in self._numbers.items() if uuid in alive}
