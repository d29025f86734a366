"""Parts on a conveyor belt seen from above, drawn with exact boxes: random stills and one endless belt sequence.

Everything follows from the seed. Nothing is read from disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.demo.parts import CLASSES, Part, Sprite, draw
from agent.demo.surface import STYLES, Image, Light, Plane, Sensor, belt, expose, illuminate

__all__ = [
    "CLASSES",
    "Conveyor",
    "Frame",
    "Label",
    "Light",
    "Part",
    "Sensor",
    "belt",
    "compose",
    "photograph",
    "still",
]

COVERED = 0.5
"""A pixel belongs to a part that covers at least this much of it."""

LEAST_VISIBLE = 0.25
"""A part of which less than this share shows (hidden or outside the image) carries no label."""


@dataclass(frozen=True)
class Label:
    """What is truly there: class id, stable object id, visible extent (x0, y0, x1, y1) in pixels, share that shows."""

    kind: int
    track_id: int
    box: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True)
class Frame:
    """A picture, uint8 BGR (H, W, 3), and its labels."""

    image: Image
    labels: tuple[Label, ...]


def compose(surface: Plane, parts: Sequence[Part], light: Light) -> tuple[Plane, tuple[Label, ...]]:
    """Lay `parts` on `surface` ((H, W, 3) float32 reflectance, kept), later ones on top; returns the scene and its labels."""
    scene = surface.copy()
    owner = np.full(scene.shape[:2], -1, np.int32)
    full: list[int] = []
    for index, part in enumerate(parts):
        sprite = draw(part, _towards_lamp(part, light, scene.shape))
        _cast_shadow(scene, sprite, part, light)
        _blend(scene, owner, sprite, index)
        full.append(int(np.count_nonzero(sprite.alpha >= COVERED)))
    return scene, _labels(owner, parts, full)


def photograph(
    surface: Plane, parts: Sequence[Part], light: Light, sensor: Sensor, rng: np.random.Generator
) -> Frame:
    """Compose, light and expose a scene."""
    scene, labels = compose(surface, parts, light)
    return Frame(expose(illuminate(scene, light), sensor, rng), labels)


def _towards_lamp(part: Part, light: Light, shape: tuple[int, ...]) -> tuple[float, float]:
    x, y = light.x * shape[1] - part.x, light.y * shape[0] - part.y
    length = max(float(np.hypot(x, y)), 1e-6)
    return x / length, y / length


def _overlap(
    shape: tuple[int, ...], sprite: Sprite, dx: int = 0, dy: int = 0
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a sprite moved by (dx, dy) meets an image of that shape: slices into the image and into the sprite."""
    x, y = sprite.x + dx, sprite.y + dy
    height, width = sprite.alpha.shape
    left, top = max(x, 0), max(y, 0)
    right, bottom = max(min(x + width, shape[1]), left), max(min(y + height, shape[0]), top)
    return (slice(top, bottom), slice(left, right)), (
        slice(top - y, bottom - y),
        slice(left - x, right - x),
    )


def _cast_shadow(scene: Plane, sprite: Sprite, part: Part, light: Light) -> None:
    if light.shadow <= 0:
        return
    x, y = _towards_lamp(part, light, scene.shape)
    soft = cv2.GaussianBlur(sprite.alpha, (0, 0), max(0.5, light.softness * part.size))
    reach = light.reach * part.size
    there, here = _overlap(scene.shape, sprite, round(-x * reach), round(-y * reach))
    scene[there] *= 1 - np.float32(light.shadow) * soft[here][:, :, None]


def _blend(scene: Plane, owner: NDArray[np.int32], sprite: Sprite, index: int) -> None:
    there, here = _overlap(scene.shape, sprite)
    alpha = sprite.alpha[here][:, :, None]
    scene[there] += alpha * (sprite.colour[here] - scene[there])
    owner[there][sprite.alpha[here] >= COVERED] = index


def _labels(
    owner: NDArray[np.int32], parts: Sequence[Part], full: Sequence[int]
) -> tuple[Label, ...]:
    labels = []
    for index, part in enumerate(parts):
        rows, columns = np.nonzero(owner == index)
        share = len(rows) / max(full[index], 1)
        if share >= LEAST_VISIBLE:
            box = (
                float(columns.min()),
                float(rows.min()),
                float(columns.max() + 1),
                float(rows.max() + 1),
            )
            labels.append(Label(part.kind, part.track_id, box, share))
    return tuple(labels)


_METALS = (
    (0.62, 0.64, 0.66),
    (0.50, 0.52, 0.54),
    (0.35, 0.55, 0.66),
    (0.34, 0.45, 0.62),
    (0.26, 0.27, 0.29),
    (0.75, 0.76, 0.76),
)


def _some_part(
    rng: np.random.Generator, x: float, y: float, sizes: tuple[float, float], track_id: int
) -> Part:
    metal = np.asarray(_METALS[int(rng.integers(len(_METALS)))]) * rng.uniform(0.85, 1.15)
    return Part(
        kind=int(rng.integers(len(CLASSES))), x=x, y=y, size=float(np.exp(rng.uniform(*np.log(sizes)))),
        angle=float(rng.uniform(0, 360)), colour=(float(metal[0]), float(metal[1]), float(metal[2])),
        variant=float(rng.uniform()), track_id=track_id,
    )  # fmt: skip


def _scatter(rng: np.random.Generator, width: int, height: int) -> list[Part]:
    """Heaps, loose parts or nothing: crowded stills put several parts around one place."""
    count = (
        int(rng.integers(0, 4))
        if rng.uniform() < 0.2
        else int(rng.integers(4, 26) * width * height / 640 / 640) + 1
    )
    heaps = rng.uniform(0, 1, (3, 2)) * (width, height)
    parts = []
    for index in range(count):
        place = rng.uniform(0, 1, 2) * (width, height)
        if rng.uniform() < 0.35:
            place = heaps[int(rng.integers(3))] + rng.normal(0, 45, 2)
        parts.append(_some_part(rng, float(place[0]), float(place[1]), (24, 110), index))
    return parts


def _some_light(rng: np.random.Generator) -> Light:
    gain = float(np.exp(rng.uniform(np.log(0.45), np.log(2.8))))
    x, y, spread = (float(value) for value in rng.uniform((-0.2, -0.3, 0.35), (1.2, 1.3, 0.9)))
    blue, green, red = (float(value) for value in rng.uniform(0.85, 1.15, 3))
    shadow, reach, softness = (
        float(value) for value in rng.uniform((0.1, 0.04, 0.02), (0.65, 0.22, 0.12))
    )
    return Light(
        gain,
        float(rng.uniform(0.35, 0.85)),
        x,
        y,
        spread,
        (blue, green, red),
        shadow,
        reach,
        softness,
    )


def still(seed: int, width: int = 640, height: int = 360) -> Frame:
    """One random labelled picture: belt, lamp, camera and parts all drawn anew from `seed`."""
    rng = np.random.default_rng([17, seed])
    style = STYLES[int(rng.integers(len(STYLES)))]
    surface = belt(rng, width, height, style, float(rng.uniform(0.08, 0.42)))
    if rng.uniform() < 0.5:
        surface = np.ascontiguousarray(surface[::-1, ::-1])
    sensor = Sensor(*(float(value) for value in rng.uniform((0.3, 1.0, 0.0), (1.5, 8.0, 0.4))))
    return photograph(surface, _scatter(rng, width, height), _some_light(rng), sensor, rng)


@dataclass(frozen=True)
class Conveyor:
    """An endless belt that repeats after `frames` frames; frame `i` and frame `i + frames` differ in nothing but ids.

    It has an empty stretch in which the belt also halts, sparse and crowded stretches, and one glare: for some seconds
    the lamp is far brighter than ever before or after.
    """

    seed: int = 5
    frames: int = 300
    fps: int = 15
    width: int = 640
    height: int = 360
    halt: tuple[int, int] = (190, 226)
    glare: tuple[int, int] = (62, 99)
    parts: int = 26

    @property
    def length(self) -> int:
        """The belt's whole length in pixels."""
        return self.width * 10 // 3

    def frame(self, index: int) -> Frame:
        """Draw frame `index` (any whole number from 0)."""
        rng = np.random.default_rng([self.seed, index % self.frames])
        travel = self._travel(index % self.frames)
        moved = _slide(_conveyor_belt(self), travel, self.width)
        seen = [
            part
            for loose in _conveyor_parts(self)
            if (part := self._seen(loose, travel, index // self.frames))
        ]
        return photograph(moved, seen, self.light(index), Sensor(0.7, 2.5, 0.25), rng)

    def light(self, index: int) -> Light:
        """The lamp at frame `index`: it wanders slowly, and flares up in the glare."""
        phase = 2 * np.pi * (index % self.frames) / self.frames
        flare = _plateau(index % self.frames, self.glare, ramp=4)
        x, y = 0.45 + 0.25 * float(np.sin(phase)), 0.25 + 0.15 * float(np.cos(2 * phase))
        return Light(gain=1.15 + 0.1 * float(np.sin(phase)) + 1.25 * flare, x=x, y=y)

    def _travel(self, index: int) -> float:
        """How far the belt has moved at frame `index`, pixels; a whole turn in `frames` frames."""
        speeds = np.array([1.0 - _plateau(step, self.halt, ramp=6) for step in range(self.frames)])
        return float(speeds[:index].sum() / speeds.sum() * self.length)

    def _seen(self, part: Part, travel: float, turns: int) -> Part | None:
        """The part where it lies now, or None while it is out of sight; every passage gets an id of its own."""
        lap, x = divmod(part.x + travel + part.size, self.length)
        if x - part.size > self.width + part.size:
            return None
        track_id = part.track_id + self.parts * (turns + int(lap))
        return replace(part, x=x - part.size, track_id=track_id)


def _plateau(index: int, span: tuple[int, int], ramp: int) -> float:
    """0 outside `span`, 1 inside, with linear ramps of `ramp` frames inside the span."""
    return float(np.clip(min(index - span[0], span[1] - index) / ramp, 0.0, 1.0))


@lru_cache(maxsize=2)
def _conveyor_belt(conveyor: Conveyor) -> Plane:
    return belt(np.random.default_rng([conveyor.seed, 1, 1]), conveyor.length, conveyor.height)


@lru_cache(maxsize=2)
def _conveyor_parts(conveyor: Conveyor) -> tuple[Part, ...]:
    """Parts along the belt: nothing in its middle, few in one half, many in the other."""
    rng = np.random.default_rng([conveyor.seed, 2, 2])
    parts = []
    for number in range(conveyor.parts):
        crowded = number >= conveyor.parts * 0.35
        start, end = (0.0, 0.28) if crowded else (0.72, 1.0)
        x = conveyor.length * float(rng.uniform(start, end))
        y = conveyor.height * float(rng.uniform(0.08, 0.92))
        parts.append(_some_part(rng, x, y, (30, 84), number))
    return tuple(parts)


def _slide(surface: Plane, travel: float, width: int) -> Plane:
    """The stretch of belt under the camera, moved right by `travel` pixels (fractions by linear interpolation)."""
    whole = int(np.floor(travel))
    columns = (np.arange(width + 1) - whole - 1) % surface.shape[1]
    window = surface[:, columns]
    part = np.float32(travel - whole)
    return np.asarray(window[:, 1:] * (1 - part) + window[:, :-1] * part, np.float32)
