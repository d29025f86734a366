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
)


@dataclass(frozen=True)
class ModelFault:
    """What happens to the model behind a good picture; `cause` is empty where it cannot be seen in results."""

    name: str
    cause: str
    spoil: Callable[[Detector, Sequence[Picture]], Detector]


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


def _calibrated_in_the_dark(detector: Detector, shown: Sequence[Picture]) -> Detector:
    """The same model as INT8, calibrated with pictures of a hundredth of the light."""
    from agent.release.quantise import Quantiser  # slow to load

    inputs = []
    for picture in shown[::8]:
        detector.letterbox.fill(_as_picture(picture * 0.01))
        inputs.append(detector.backend.buffer.copy())
    with tempfile.TemporaryDirectory() as folder, Quantiser(MODEL, inputs, "minmax") as quantiser:
        file = Path(folder) / "int8.onnx"
        file.write_bytes(quantiser.quantise())
        return conveyor_detector(file)


MODEL_FAULTS = (
    ModelFault(
        "not normalised",
        "preprocessing",
        lambda _detector, _shown: conveyor_detector(MODEL, scale=1.0),
    ),
    ModelFault(
        "normalised twice",
        "",
        lambda _detector, _shown: conveyor_detector(MODEL, scale=1 / 255 / 255),
    ),
    ModelFault("INT8 with a stale calibration", "confidence collapse", _calibrated_in_the_dark),
    ModelFault(
        "INT8 delegate that halves scores",
        "confidence collapse",
        lambda detector, _shown: replace(
            detector, backend=cast("Backend", _Halved(detector.backend))
        ),
    ),
)


def dusk(picture: Picture) -> Picture:
    """The same scene by night: a third of the light, and the noise of a higher gain."""
    noise = np.random.default_rng(int(picture[::8, ::8].sum())).normal(0, 3, picture.shape)
    return _as_picture(picture * 0.3 + noise)


def conveyor_detector(model: Path = MODEL, **spec: Any) -> Detector:
    """The bundled model that knows the conveyor, or another form of it; `spec` is what its input differs in."""
    return load_detector(
        model,
        family="ultralytics",
        labels=list(CLASSES),
        confidence=CONFIDENCE,
        threads=1,
        input_spec=InputSpec(width=320, height=320, **spec),
    )


def pictures(clip: Path, every: int, most: int = 10_000) -> list[Picture]:
    """Every so many pictures of a recording."""
    _, found = open_source(clip)
    return [one.image for one in islice(found, 0, every * most, every)]


def look(detector: Detector, shown: Sequence[Picture], spoil: Spoil) -> list[FrameFigures]:
    """The figures of pictures after `spoil`."""
    scaler = Scaler(detector.input)
    found = []
    for picture in shown:
        scaled = scaler.scale(spoil(picture))
        found.append(figures_of(scaled, detector.detect_scaled(scaled), CONFIDENCE))
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
