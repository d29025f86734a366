"""Does a candidate see what the serving model sees? Asked of a few live frames, before the swap.

- The serving model's newest pictures come with the boxes it found in them; the candidate judges the same pictures in
  its trial, as it does the golden set's. That costs the board a dozen inferences and a few megabytes for a moment.
- Only what the serving model sees and the candidate does not counts against it: a better model may see more. Scores
  are not compared, and the candidate is asked with half the threshold, so that an object at its edge is no difference.
- Too few objects say nothing, neither do labels that the candidate does not have, nor cameras that blur objects: the
  candidate would judge another picture than the serving model did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import cycle, islice

from agent.errors import ModelError, VigilError
from agent.models.store import InstalledRelease
from agent.schema.config import CameraConfig
from agent.schema.manifest import GoldenFrame, GoldenSet
from agent.schema.values import Box
from agent.supervisor.conversation import Conversation
from agent.supervisor.routing import Serving
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.worker_process import WorkerProcess
from agent.vision.golden import GoldenBox

log = logging.getLogger(__name__)
FRAMES = 12
LEAST_OBJECTS = 10
WIDTH, QUALITY = 1280, 95
_SOFTER = 0.5  # share of the threshold with which the candidate is asked


class Agreement:
    """Compares a candidate with the model that serves.

    Args:
        settings: Which cameras there are, and the agreement that is asked for where a release does not say.
        talk: How workers are spoken with.
        pause: Waits so many seconds; True when the trial was given up meanwhile.
    """

    def __init__(
        self, settings: WorkerSettings, talk: Conversation, pause: Callable[[float], bool]
    ) -> None:
        self._settings, self._talk, self._pause = settings, talk, pause

    def look(self, serving: Serving | None, candidate: InstalledRelease) -> GoldenSet | None:
        """Return live pictures with what the serving model sees in them, in the candidate's labels.

        None where no agreement is asked for, or too few objects were seen to tell.
        """
        if serving is None or not self._asked(candidate):
            return None
        cameras = comparable(self._settings.cameras)
        frames: list[GoldenFrame] = []
        for camera in islice(cycle(cameras), FRAMES):
            if self._pause(self._settings.agreement_pause_s):
                return None
            try:
                grabbed, jpeg = self._talk.grab(serving.worker, camera, WIDTH, QUALITY)
            except VigilError as error:
                log.info("camera %s gives no picture to compare models by: %s", camera, error)
                continue
            boxes = translated(
                grabbed.boxes, serving.release.manifest.labels, candidate.manifest.labels
            )
            frames.append(GoldenFrame(jpeg, {candidate.variant.id: boxes}))
        objects = sum(len(boxes) for frame in frames for boxes in frame.expected.values())
        if objects < LEAST_OBJECTS:
            log.warning("%s is not compared: %d objects seen", candidate.ref.label, objects)
            return None
        detect = self._settings.detect
        return GoldenSet(frames, _SOFTER * detect.confidence, detect.iou)

    def require(self, worker: WorkerProcess, candidate: InstalledRelease, seen: GoldenSet) -> None:
        """Let the candidate judge what `look` returned.

        Raises:
            ModelError: `model.agreement` when it sees too little of it; or its worker fails.
        """
        share, least = self._talk.share_seen(worker, candidate, seen), self._asked(candidate)
        log.info("%s sees %.0f %% of what the model before sees", candidate.ref.label, 100 * share)
        if share < least:
            message = f"sees {share:.0%} of the objects that the model before sees, at least {least:.0%} asked"
            raise ModelError(message, code="model.agreement")

    def _asked(self, candidate: InstalledRelease) -> float:
        asked = candidate.manifest.probation.min_agreement
        return (self._settings.min_agreement or 0.0) if asked is None else asked


def comparable(cameras: Iterable[CameraConfig]) -> list[str]:
    """Return the cameras whose pictures two models can be compared by: not those that blur objects."""
    return [camera.name for camera in cameras if not camera.privacy.blur]


def translated(boxes: Iterable[Box], old: list[str], new: list[str]) -> list[GoldenBox]:
    """Return boxes with the labels of another model; without those that it does not know."""
    numbers = {number: new.index(label) for number, label in enumerate(old) if label in new}
    return [
        (numbers[box.label], box.score, box.x_min, box.y_min, box.x_max, box.y_max)
        for box in boxes
        if box.label in numbers
    ]
