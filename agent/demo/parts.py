"""The five metal parts of the demo scene: their outlines and how they look from above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Outline = list[NDArray[np.float64]]

CLASSES: tuple[str, ...] = ("bolt", "nut", "washer", "gear", "bracket")
"""Class names; the position is the class id."""

_OVERSAMPLE = 4
_SHIFT = 8  # fractional bits of cv2's fixed-point polygon corners


@dataclass(frozen=True)
class Part:
    """One part lying on the belt.

    `kind` is the class id, `x` and `y` the centre in pixels, `size` the longest side in pixels, `angle` the rotation in
    degrees, `colour` the metal's BGR reflectance (0..1), `variant` (0..1) picks its proportions, `track_id` is the
    object's stable number.
    """

    kind: int
    x: float
    y: float
    size: float
    angle: float
    colour: tuple[float, float, float] = (0.62, 0.64, 0.66)
    variant: float = 0.5
    track_id: int = 0


@dataclass(frozen=True)
class Sprite:
    """A drawn part: `alpha` (h, w) coverage 0..1 and `colour` (h, w, 3) reflectance, float32, top left at (`x`, `y`) px."""

    x: int
    y: int
    alpha: Plane
    colour: Plane


def draw(part: Part, light: tuple[float, float]) -> Sprite:
    """Draw `part` with the lamp in the direction `light` (unit vector in the image plane, x right, y down)."""
    half = int(np.ceil(part.size * 0.75)) + 3
    x, y = int(np.floor(part.x)) - half, int(np.floor(part.y)) - half
    alpha = _coverage(part, x, y, 2 * half)
    colour = _relief(part, alpha, light)[:, :, None] * np.asarray(part.colour, np.float32)
    return Sprite(x, y, alpha, colour.astype(np.float32))


def _coverage(part: Part, x: int, y: int, side: int) -> Plane:
    turn = np.deg2rad(part.angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    centre = np.array([part.x - x, part.y - y])
    scale = _OVERSAMPLE * 2**_SHIFT
    # cv2 puts pixel centres on whole numbers, the scene puts pixel edges there: half an oversampled pixel apart
    corners = [
        np.round(((ring * part.size) @ rotation + centre) * scale - 2 ** (_SHIFT - 1)).astype(
            np.int32
        )
        for ring in _OUTLINES[part.kind](part.variant)
    ]
    canvas = np.zeros((side * _OVERSAMPLE, side * _OVERSAMPLE), np.uint8)
    cv2.fillPoly(canvas, corners, 255, shift=_SHIFT)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(255), np.float32)


def _relief(part: Part, alpha: Plane, light: tuple[float, float]) -> Plane:
    """Bevelled edges, a specular glint where they face the light, and the part's own surface marks."""
    height = cv2.GaussianBlur(alpha, (0, 0), max(1.0, part.size * 0.035))
    slope = (
        cv2.Sobel(height, cv2.CV_32F, 1, 0) * light[0]
        + cv2.Sobel(height, cv2.CV_32F, 0, 1) * light[1]
    )
    facing = np.clip(-0.4 * slope, -1.0, 1.0)
    glint = np.clip(facing - 0.3, 0.0, 1.0) ** 2
    shade: Plane = (0.85 + 0.35 * facing + 1.6 * glint + _marks(part, alpha.shape[0])).astype(
        np.float32
    )
    return shade


def _marks(part: Part, side: int) -> Plane:
    turn = np.deg2rad(part.angle)
    grid = np.arange(side, dtype=np.float32) - np.float32(side / 2)
    along = (grid[None, :] * np.cos(turn) + grid[:, None] * np.sin(turn)) / part.size
    across = (grid[:, None] * np.cos(turn) - grid[None, :] * np.sin(turn)) / part.size
    if part.kind == CLASSES.index("bolt"):
        marks = 0.22 * np.sin(along * 2 * np.pi * 13) * (along > -0.18)
    elif part.kind == CLASSES.index("bracket"):
        marks = 0.05 * np.sin(along * 61 + across * 7)
    else:
        marks = 0.06 * np.sin(np.hypot(along, across) * 75)
    return np.asarray(marks, np.float32)


def _ring(radius: float, corners: int = 48, turn: float = 0.0) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _bolt(variant: float) -> Outline:
    head, shank, neck = 0.19 + 0.05 * variant, 0.085 + 0.03 * variant, -0.30 + 0.08 * variant
    return [
        np.array(
            [
                (-0.5, -head * 0.8), (-0.46, -head), (neck, -head), (neck, -shank), (0.47, -shank), (0.5, -shank * 0.6),
                (0.5, shank * 0.6), (0.47, shank), (neck, shank), (neck, head), (-0.46, head), (-0.5, head * 0.8),
            ]
        )
    ]  # fmt: skip


def _nut(variant: float) -> Outline:
    return [_ring(0.5, 6), _ring(0.22 + 0.07 * variant)]


def _washer(variant: float) -> Outline:
    return [_ring(0.5), _ring(0.24 + 0.10 * variant)]


def _gear(variant: float) -> Outline:
    teeth = 9 + round(5 * variant)
    steps = np.linspace(0, 2 * np.pi, teeth * 4, endpoint=False)
    radius = np.where(np.arange(teeth * 4) % 4 < 2, 0.5, 0.40)
    return [
        radius[:, None] * np.stack([np.cos(steps), np.sin(steps)], axis=1),
        _ring(0.12 + 0.06 * variant),
    ]


def _bracket(variant: float) -> Outline:
    arm, rise = 0.20 + 0.08 * variant, 0.30 + 0.10 * variant
    plate = np.array(
        [
            (-0.5, -rise),
            (-0.5 + arm, -rise),
            (-0.5 + arm, rise - arm),
            (0.5, rise - arm),
            (0.5, rise),
            (-0.5, rise),
        ]
    )
    hole = _ring(arm * 0.24, 20)
    middle = arm / 2
    upper, lower = (
        np.array((-0.5 + middle, -rise + middle * 1.3)),
        np.array((0.5 - middle * 1.3, rise - middle)),
    )
    return [plate, hole + upper, hole + lower]


_OUTLINES: tuple[Callable[[float], Outline], ...] = (_bolt, _nut, _washer, _gear, _bracket)
