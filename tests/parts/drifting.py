"""Recordings with faults injected, as figures: what the drift judge is shown, in the suite and by `scripts/show_drift`."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

import agent
from agent.demo.scene import CLASSES
from agent.schema.drift import FrameFigures
from agent.schema.manifest import InputSpec
from agent.vision.backends import Backend
from agent.vision.detector import Detector, load_detector
from agent.vision.figures import figures_of
from agent.vision.gallery import open_source
from agent.vision.image import Scaler
from agent.vision.tracking import LOW_CONFIDENCE

BUNDLED = Path(agent.__file__).parent / "demo" / "bundled"
CONVEYOR = BUNDLED / "conveyor.mp4"
MODEL = BUNDLED / "parts-2.onnx"
CONFIDENCE = 0.25

Picture = NDArray[np.uint8]
Spoil = Callable[[Picture], Picture]


@dataclass(frozen=True)
class Fault:
    """What happens to a camera's picture, and which cause is to be named."""

    name: str
    cause: str
    spoil: Spoil


def _as_picture(pixels: Any) -> Picture:
    picture: Picture = np.clip(pixels, 0, 255).astype(np.uint8)
    return picture


def _dirt(picture: Picture) -> Picture:
    """Three smeared blobs, out of focus, that let a tenth of the light through."""
    height, width = picture.shape[:2]
    cover: Any = np.zeros((height, width), np.float32)
    for x, y, radius in ((0.2, 0.3, 0.12), (0.6, 0.5, 0.15), (0.8, 0.2, 0.1)):
        cv2.circle(cover, (int(x * width), int(y * height)), int(radius * width), 0.9, -1)
    cover = cv2.GaussianBlur(cover, (0, 0), width / 100)[..., None]
    return _as_picture(picture * (1 - cover) + np.array([60, 75, 85]) * cover)


def _moved(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    shift = np.array([[1, 0, 0.17 * width], [0, 1, 0.14 * height]])
    mirrored = cv2.BORDER_REFLECT
    return _as_picture(cv2.warpAffine(picture, shift, (width, height), borderMode=mirrored))


def _noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(int(picture[::8, ::8].sum())).normal(0, 20, picture.shape)
    return _as_picture(picture + noise)


def _blurred(picture: Picture) -> Picture:
    return _as_picture(cv2.GaussianBlur(picture, (0, 0), picture.shape[1] / 160))


def strange(picture: Picture) -> Picture:
    """Lay twelve stars on the picture, which no class knows."""
    found = picture.copy()
    height, width = picture.shape[:2]
    dice = np.random.default_rng(int(picture[::8, ::8].sum()))
    angles = np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2, 0.025, 0.067)[:, None] * height
    star = reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for _ in range(12):
        points = dice.uniform((0.05, 0.08), (0.95, 0.92)) * (width, height) + star
        cv2.fillPoly(found, [points.astype(np.int32)], dice.uniform(90, 150, 3).tolist())
    return _as_picture(found)


FAULTS = (
    Fault("blur, sigma 1/160 of the width", "blur", _blurred),
    Fault("three blobs of dirt", "dirt or occlusion", _dirt),
    Fault("a quarter of the light", "darkness", lambda p: _as_picture(p * 0.25)),
    Fault("1.6 times the light and 60 more", "over-exposure", lambda p: _as_picture(p * 1.6 + 60)),
    Fault("shifted by 17 % and 14 %", "camera moved", _moved),
    Fault("noise, sigma 20", "noise", _noisy),
    Fault("red and blue exchanged", "colour order", lambda p: p[..., ::-1].copy()),
    Fault(
        "red 1.25 times, blue 0.7 times",
        "colour shift",
        lambda p: _as_picture(p * np.array([0.7, 1.0, 1.25])),
    ),
    Fault("twelve stars, which no class knows", "unknown objects", strange),
)


@dataclass(frozen=True)
class Subject:
    """A model of the ultralytics family, 320 pixels wide, and the classes it knows."""

    model: Path
    labels: tuple[str, ...]

    def load(self, model: Path | None = None, **spec: Any) -> Detector:
        """Load it, or another form of it; `spec` is what its input differs in."""
        return load_detector(
            model or self.model,
            family="ultralytics",
            labels=self.labels,
            confidence=CONFIDENCE,
            threads=1,
            input_spec=InputSpec(width=320, height=320, **spec),
        )


PARTS = Subject(MODEL, tuple(CLASSES))


@dataclass(frozen=True)
class ModelFault:
    """What happens to the model behind a good picture.

    Attributes:
        cause: What the judge is to name; empty where results do not show it.
        stage: What the golden set is to name; empty where its makers saw the same.
        delegate: What the network runs on.
    """

    name: str
    cause: str
    stage: str
    spoil: Callable[[Subject, Sequence[Picture]], Detector]
    delegate: str = ""


class _Halved:
    """A delegate whose eight bits end at half of a score."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def infer(self) -> list[NDArray[np.float32]]:
        (output,) = self._backend.infer()
        output = output.copy()
        output[:, 4:] *= 0.5
        return [output]


def _calibrated_in_the_dark(subject: Subject, shown: Sequence[Picture]) -> Detector:
    """The same model as INT8, calibrated with pictures of a hundredth of the light."""
    from agent.release.quantise import Quantiser  # slow to load

    detector, inputs = subject.load(), []
    for picture in shown[::8]:
        detector.letterbox.fill(_as_picture(picture * 0.01))
        inputs.append(detector.backend.buffer.copy())
    with (
        tempfile.TemporaryDirectory() as folder,
        Quantiser(subject.model, inputs, "minmax") as quantiser,
    ):
        file = Path(folder) / "int8.onnx"
        file.write_bytes(quantiser.quantise())
        return subject.load(file)


def _halved(subject: Subject, _shown: Sequence[Picture]) -> Detector:
    detector = subject.load()
    return replace(detector, backend=cast("Backend", _Halved(detector.backend)))


MODEL_FAULTS = (
    ModelFault(
        "not normalised",
        "preprocessing",
        "normalisation",
        lambda subject, _shown: subject.load(scale=1.0),
    ),
    ModelFault(
        "normalised twice",
        "",
        "normalisation",
        lambda subject, _shown: subject.load(scale=1 / 255 / 255),
    ),
    ModelFault("INT8 with a stale calibration", "confidence collapse", "", _calibrated_in_the_dark),
    ModelFault(
        "INT8 delegate that halves scores", "confidence collapse", "delegate", _halved, "libint8.so"
    ),
)


def dusk(picture: Picture) -> Picture:
    """The same scene by night: a third of the light, and the noise of a higher gain."""
    noise = np.random.default_rng(int(picture[::8, ::8].sum())).normal(0, 3, picture.shape)
    return _as_picture(picture * 0.3 + noise)


def conveyor_detector() -> Detector:
    """The bundled model that knows the conveyor."""
    return PARTS.load()


def pictures(clip: Path, every: int, most: int = 10_000) -> list[Picture]:
    """Every so many pictures of a recording."""
    _, found = open_source(clip)
    return [one.image for one in islice(found, 0, every * most, every)]


def look(detector: Detector, shown: Sequence[Picture], spoil: Spoil) -> list[FrameFigures]:
    """The figures of pictures after `spoil`."""
    scaler = Scaler(detector.input)
    seeing = detector.with_thresholds(LOW_CONFIDENCE, detector.iou)
    found = []
    for picture in shown:
        scaled = scaler.scale(spoil(picture))
        found.append(figures_of(scaled, seeing.detect_scaled(scaled), CONFIDENCE))
    return found


def unspoiled(picture: Picture) -> Picture:
    """The picture as it is."""
    return picture


def stationary(
    days: float, day: Sequence[FrameFigures], night: Sequence[FrameFigures]
) -> Iterator[FrameFigures]:
    """Yield a figure a second: 14 hours of day, 10 of night, the recording in stretches from anywhere in it.

    Lamps wander by some 2 %, and each frame's measures by 1 %.
    """
    dice = random.Random(11)  # noqa: S311 - no secret
    second, lamp = 0, 1.0
    while second < days * 86_400:
        frames = day if second % 86_400 < 14 * 3600 else night
        start, stride = dice.randrange(len(frames)), dice.choice((1, 3, 7))
        for index in range(dice.randrange(30, 300)):
            lamp += 0.01 * (1.0 - lamp) + dice.gauss(0, 0.003)
            yield _jittered(frames[(start + index * stride) % len(frames)], lamp, dice)
            second += 1


def _jittered(frame: FrameFigures, lamp: float, dice: random.Random) -> FrameFigures:
    return msgspec.structs.replace(
        frame,
        brightness=frame.brightness * lamp,
        contrast=frame.contrast * lamp * dice.gauss(1, 0.01),
        sharpness=frame.sharpness * lamp**2 * dice.gauss(1, 0.01),
        noise=frame.noise * dice.gauss(1, 0.01),
    )
