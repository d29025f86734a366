"""Tracking as the device does it, on a labelled video: detector and tracker as they are, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.vision.tracking import LOW_CONFIDENCE, Tracker
from agent.vision.tracking_accuracy import Tracked, TrackingReport, tracking_accuracy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agent.vision.dataset import Dataset
    from agent.vision.detector import Detector

TRACKING_CONFIDENCE = 0.25


def evaluate_tracking(
    detector: Detector,
    dataset: Dataset,
    pictures: Iterable[tuple[int, NDArray[np.uint8]]],
    fps: float,
) -> TrackingReport:
    """Track through the pictures of a video of `fps` frames a second, and compare with its labels.

    Raises:
        ConfigError: `dataset.tracks` when the labels do not say which objects are the same.
    """
    if dataset.tracks is None:
        raise ConfigError(
            f"{dataset.path}: expected a track_id in every annotation, found none in some",
            code="dataset.tracks",
            hint="number the objects of the video, each with one track_id in all its frames",
        )
    dataset.require_classes(detector.labels)
    return tracking_accuracy(_followed(detector, dataset.tracks, pictures, fps))


def _followed(
    detector: Detector,
    labels: dict[int, list[Tracked]],
    pictures: Iterable[tuple[int, NDArray[np.uint8]]],
    fps: float,
) -> Iterator[tuple[Sequence[Tracked], Sequence[Tracked]]]:
    seeing = detector.with_thresholds(LOW_CONFIDENCE, detector.iou)
    tracker = Tracker(TRACKING_CONFIDENCE)
    for number, image in pictures:
        seen = tracker.update(seeing.detect(image), int(number * 1e9 / fps))
        found = [
            Tracked(one.track, one.label, one.box)
            for one in seen
            if one.track and one.score >= TRACKING_CONFIDENCE
        ]
        yield labels[number], found
