"""Cameras, one model, one publisher: which threads run while cameras are open, and how they end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from agent.errors import ModelError
from agent.host.clock import CaptureClock, monotonic_ns
from agent.schema.drift import FigureRules
from agent.schema.recording import EventConfig
from agent.vision.berth import Berth, watch
from agent.vision.camera_record import CameraRecord
from agent.vision.cameras import Call, CameraSetup, Frame
from agent.vision.capture import CaptureLoop
from agent.vision.desk import CameraDesk, DeskRules, Processed, Published
from agent.vision.events import Stage
from agent.vision.image import Scaled, Scaler
from agent.vision.mailbox import Mailbox
from agent.vision.motion import MotionGate
from agent.vision.privacy import Redactor
from agent.vision.publisher import Publisher
from agent.vision.pulse import Pulse
from agent.vision.sequencer import Sequencer
from agent.vision.tracking import LOW_CONFIDENCE

if TYPE_CHECKING:
    from agent.schema.camera_report import CameraReport
    from agent.schema.config import CameraConfig
    from agent.vision.detector import Detector

log = logging.getLogger(__name__)

_TAKE_S = 0.5
_JOIN_S = 2.0

Spawn = Callable[[str, Callable[[], None]], threading.Thread]


@dataclass(frozen=True)
class Scene:
    """What is filmed, and under which names its events are reported."""

    device: str
    boot: str
    release: str
    cameras: Sequence[CameraConfig]
    epoch_ns: int
    default_fps: float
    max_fps: float = 0.0
    events: EventConfig = field(default_factory=EventConfig)
    figures: FigureRules | None = None


@dataclass(frozen=True)
class Shot:
    """A frame, and what the network will see of it: scaled by the camera's thread while the model is busy."""

    frame: Frame
    scaled: Scaled


class Pipeline:
    """Open cameras with their model.

    Args:
        detectors: The loaded model, once for each frame that may run at the same time; while the pipeline runs, each is
            used by an inference thread of its own.
        scene: The cameras.
        publisher: Takes every processed frame.
        spawn: Starts a named thread whose failure ends the worker.
    """

    def __init__(
        self, detectors: Sequence[Detector], scene: Scene, publisher: Publisher, spawn: Spawn
    ) -> None:
        detector = detectors[0]
        low = min(detector.confidence, LOW_CONFIDENCE)
        self._confidence, self._input = detector.confidence, detector.input
        self._publisher = publisher
        self._sequencer = Sequencer(self._pass_on, ahead=len(detectors))
        self._stop = threading.Event()
        self._mailbox: Mailbox[Shot] = Mailbox([camera.name for camera in scene.cameras])
        self._mailbox.limit(scene.max_fps)
        redactors = {
            camera.name: Redactor(camera.privacy, detector.labels) for camera in scene.cameras
        }
        self._desks = {
            camera.name: CameraDesk(_rules(scene, camera, detector), redactors[camera.name])
            for camera in scene.cameras
        }
        self._gates = {
            camera.name: MotionGate(camera.motion)
            for camera in scene.cameras
            if camera.motion.enabled
        }
        self._patient = {camera.name for camera in scene.cameras if not camera.paced}
        self._pulses = [Pulse() for _ in detectors]
        self._threads = [
            spawn("inference", partial(self._infer, one.with_thresholds(low, one.iou), pulse))
            for one, pulse in zip(detectors, self._pulses, strict=True)
        ]
        self._berths = [
            Berth(
                camera.source,
                partial(
                    self._capture,
                    CameraSetup(camera, scene.epoch_ns, scene.default_fps, self._stop),
                    redactors[camera.name],
                    CameraRecord(camera.name),
                ),
                spawn,
            )
            for camera in scene.cameras
        ]
        self._threads.append(spawn("camera-watch", partial(watch, self._berths, self._stop)))

    def is_fresh(self) -> bool:
        """Return whether every inference thread has gone round lately."""
        return all(pulse.is_fresh() for pulse in self._pulses)

    def reports(self) -> list[CameraReport]:
        """Return the health of every camera."""
        return [_with_places(berth, self._desks[berth.name]) for berth in self._berths]

    def set_rate(self, max_fps: float) -> None:
        """Infer at most so many frames a second of every camera; 0 for all that inference can take."""
        self._mailbox.limit(max_fps)

    def allow_gates(self, *, allowed: bool) -> None:
        """Let motion gates keep frames from the model, or not."""
        for gate in self._gates.values():
            gate.paused = not allowed

    def newest(self, camera: str) -> Published | None:
        """Return a camera's newest processed picture; None when there is none yet or no such camera."""
        desk = self._desks.get(camera)
        return desk.newest if desk else None

    def close(self) -> list[CameraDesk]:
        """Stop capture and inference; return the desks, whose open events are still to be ended."""
        self._stop.set()
        self._mailbox.close()
        for berth in self._berths:
            berth.stop()
        threads = [*self._threads, *(thread for berth in self._berths for thread in berth.threads)]
        end_s = time.monotonic() + _JOIN_S
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))
            if thread.is_alive():
                log.warning("thread %s does not stop; it ends with the worker", thread.name)
        return list(self._desks.values())

    def _capture(
        self, setup: CameraSetup, redactor: Redactor, record: CameraRecord
    ) -> CaptureLoop[Shot]:
        """Return a loop that can be stopped without the others."""
        alone = replace(setup, stop=threading.Event(), call=Call(), clock=CaptureClock())
        prepare = partial(_shoot, redactor, Scaler(self._input))
        gate = self._gates.get(record.name)
        return CaptureLoop(alone, self._mailbox, prepare, gate, record)

    def _infer(self, detector: Detector, pulse: Pulse) -> None:
        while not self._stop.is_set():
            pulse.beat()
            taken = self._mailbox.take(_TAKE_S)
            if taken is not None:
                self._sequencer.put(taken.number, _process(detector, taken.camera, taken.frame))

    def _pass_on(self, done: Processed) -> None:
        """Take one frame after the other, in the order in which they were captured."""
        if done.detected is not None and (gate := self._gates.get(done.camera)) is not None:
            gate.saw(objects=bool((done.detected.scores >= self._confidence).any()))
        desk = self._desks[done.camera]
        self._publisher.hand(desk, done, patient=done.camera in self._patient)


def _process(detector: Detector, camera: str, shot: Shot) -> Processed:
    frame = shot.frame
    queued_ms = (monotonic_ns() - frame.captured_ns) / 1e6 - shot.scaled.spent_ms
    try:
        detected = detector.detect_scaled(shot.scaled)
    except ModelError as error:
        log.warning("camera %s frame %d: %s", camera, frame.index, error)
        return Processed(camera, frame, None, queued_ms, monotonic_ns(), error.code)
    return Processed(camera, frame, detected, queued_ms, monotonic_ns(), scaled=shot.scaled)


def _rules(scene: Scene, camera: CameraConfig, detector: Detector) -> DeskRules:
    stage = Stage(scene.device, camera.name, scene.boot, scene.release, detector.labels)
    return DeskRules(stage, detector.confidence, camera, scene.events, scene.figures)


def _with_places(berth: Berth[Shot], desk: CameraDesk) -> CameraReport:
    report, (zones, lines) = berth.report(desk.processed), desk.places
    problem = report.problem or desk.problem
    return msgspec.structs.replace(report, zones=zones, lines=lines, problem=problem)


def _shoot(redactor: Redactor, scaler: Scaler, frame: Frame) -> Shot:
    masked = redactor.mask(frame)
    return Shot(masked, scaler.scale(masked.image))
