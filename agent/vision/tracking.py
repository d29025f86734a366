"""Stable object ids over frames: ByteTrack (Zhang et al., ECCV 2022) as `edgefirst-tracker` implements it.

Boxes below the detection threshold cannot begin a track but may continue one, so a person half behind a
tree keeps the same id. A track follows a place in the picture, whatever class the model sees there; its class
is the one that its boxes voted for, each with its score, older ones with less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from edgefirst.tracker import ByteTrack

from agent.vision.families.candidates import survivors

if TYPE_CHECKING:
    from agent.vision.detector import Detected
    from agent.vision.golden import GoldenBox

# Detections down to this score may continue a track.
LOW_CONFIDENCE = 0.1
_MIN_IOU = 0.1
_LOST_AFTER_NS = 1_500_000_000
# Weight of the newest box in the track's motion. The library's 0.25 loses whatever moves a third of its
# own width from frame to frame.
_FOLLOW = 0.8
# Boxes of two classes that overlap by so much are two opinions on one object; within a class, the model's
# decoder has decided already.
_ONE_OBJECT_IOU = 0.6
# What a vote weighs after one more frame.
_FADING = 0.97


class Sighting(NamedTuple):
    """One box of a frame and the track it belongs to; `track` is 0 when it belongs to none.

    `label` is the track's class, or the box's own where it has no track; `box` is (x_min, y_min, x_max, y_max) in
    the frame's pixels.
    """

    track: int
    label: int
    score: float
    box: tuple[float, float, float, float]


@dataclass
class _Identity:
    """A track's number, and how much each class has been voted for."""

    number: int
    votes: dict[int, float] = field(default_factory=dict)

    def vote(self, label: int, score: float) -> int:
        """Count a box's class; return the class that leads."""
        self.votes = {known: weight * _FADING for known, weight in self.votes.items()}
        self.votes[label] = self.votes.get(label, 0.0) + score
        return max(self.votes, key=self.votes.__getitem__)


class Tracker:
    """Tracks the objects of one camera.

    Args:
        confidence: Least score that begins a track.
    """

    def __init__(self, confidence: float) -> None:
        self._tracks = ByteTrack(
            high_conf=confidence, iou=_MIN_IOU, update=_FOLLOW, lifespan_ns=_LOST_AFTER_NS
        )
        self._known: dict[str, _Identity] = {}
        self._last = 0

    def update(self, detected: Detected, at_ns: int) -> list[Sighting]:
        """Return the boxes of a frame with their tracks, in the order of `detected`."""
        boxes, scores, labels = detected.boxes, detected.scores, detected.labels
        objects = survivors(boxes, scores, np.zeros_like(labels), _ONE_OBJECT_IOU)
        tracks = self._tracks.update(
            boxes[objects], scores[objects], labels[objects].astype(np.uint64), at_ns
        )
        uuids = {
            row: track.uuid for row, track in zip(objects.tolist(), tracks, strict=True) if track
        }
        sightings = [
            self._sighting(uuids.get(row), box) for row, box in enumerate(detected.golden())
        ]
        self._forget()
        return sightings

    def _sighting(self, uuid: str | None, box: GoldenBox) -> Sighting:
        label, score, *_ = box
        corners = box[2:]
        if uuid is None:
            return Sighting(0, label, score, corners)
        if uuid not in self._known:
            self._last += 1
            self._known[uuid] = _Identity(self._last)
        one = self._known[uuid]
        return Sighting(one.number, one.vote(label, score), score, corners)

    def _forget(self) -> None:
        alive = {track.info.uuid for track in self._tracks.get_active_tracks()}
        self._known = {uuid: one for uuid, one in self._known.items() if uuid in alive}
