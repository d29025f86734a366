"""What lies under and over the parts: the belt's texture, the lamp, and the camera's sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Image = NDArray[np.uint8]

STYLES: tuple[str, ...] = ("rubber", "mesh", "steel", "cloth")
"""Belt surfaces; `rubber` is the one of the bundled video."""


@dataclass(frozen=True)
class Light:
    """One lamp over the belt.

    `gain` multiplies the whole scene, `ambient` (0..1) is the share that is even, the rest falls off around (`x`, `y`),
    the lamp's place as fractions of the image, with the given `spread` (fraction of the width). `tint` is BGR. `shadow`
    (0..1) is how dark a part's shadow is, `reach` its length and `softness` its blur, both as fractions of the part.
    """

    gain: float = 1.0
    ambient: float = 0.55
    x: float = 0.4
    y: float = 0.2
    spread: float = 0.55
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shadow: float = 0.45
    reach: float = 0.12
    softness: float = 0.06


@dataclass(frozen=True)
class Sensor:
    """The camera: `blur` sigma in pixels, `noise` sigma in grey levels at mid-grey, `vignette` (0..1) corner darkening."""

    blur: float = 0.6
    noise: float = 3.0
    vignette: float = 0.25


def belt(
    rng: np.random.Generator, width: int, height: int, style: str = "rubber", grey: float = 0.22
) -> Plane:
    """Make a belt (height, width, 3), float32 reflectance; it repeats without a seam along its width."""
    shade = np.full((height, width), grey, np.float32)
    shade += _cloud(rng, width, height, 24.0, 0.10 * grey) + _cloud(
        rng, width, height, 1.2, 0.12 * grey
    )
    shade += grey * _weave(style, width, height)
    for _ in range(int(rng.integers(2, 3 + width // 120))):
        _stain(rng, shade)
    tint = np.asarray(rng.uniform(0.88, 1.12, 3), np.float32)
    return np.asarray(np.clip(shade[:, :, None] * tint, 0.01, 1.0), np.float32)


def _cloud(rng: np.random.Generator, width: int, height: int, sigma: float, depth: float) -> Plane:
    margin = int(4 * sigma)
    raw = rng.standard_normal((height, width)).astype(np.float32)
    soft = cv2.GaussianBlur(
        cv2.copyMakeBorder(raw, margin, margin, margin, margin, cv2.BORDER_WRAP), (0, 0), sigma
    )
    inner = soft[margin : margin + height, margin : margin + width]
    return np.asarray(inner * (depth / max(float(inner.std()), 1e-6)), np.float32)


def _weave(style: str, width: int, height: int) -> Plane:
    """Regular pattern, whole periods along the width so that the belt stays seamless."""
    along = np.arange(width, dtype=np.float32)[None, :] * np.float32(2 * np.pi / width)
    across = np.arange(height, dtype=np.float32)[:, None]
    if style == "mesh":
        wave = 0.30 * (
            (np.cos(along * (width // 14)) > 0.82) | (np.cos(across * (2 * np.pi / 14)) > 0.82)
        )
    elif style == "steel":
        wave = 0.16 * np.sin(across * 1.7 + 2 * np.sin(across * 0.31)) + 0 * along
    elif style == "cloth":
        wave = 0.14 * np.sin(along * (width // 6)) * np.sin(across * 1.05)
    else:
        wave = 0.10 * np.sin(along * (width // 9) + across * 0.35) - 0.25 * (
            np.cos(along * (width // 210)) > 0.9992
        )
    return np.asarray(wave, np.float32)


def _stain(rng: np.random.Generator, shade: Plane) -> None:
    height, width = shade.shape
    axes = (int(rng.integers(3, 30)), int(rng.integers(2, 14)))
    centre = (int(rng.integers(40, max(41, width - 40))), int(rng.integers(0, height)))
    mark = np.zeros_like(shade)
    cv2.ellipse(mark, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    shade *= 1.0 + float(rng.uniform(-0.35, 0.25)) * cv2.GaussianBlur(mark, (0, 0), 2.0)


def illuminate(scene: Plane, light: Light) -> Plane:
    """Light a reflectance image (h, w, 3); returns float32 radiance where 1.0 is the sensor's white."""
    height, width = scene.shape[:2]
    across = (np.arange(width, dtype=np.float32) / width - light.x) / light.spread
    down = (
        (np.arange(height, dtype=np.float32) / height - light.y) * (height / width) / light.spread
    )
    lamp = np.exp(-0.5 * down**2)[:, None] * np.exp(-0.5 * across**2)[None, :]
    field = light.gain * (light.ambient + (1.25 - light.ambient) * lamp)
    lit: Plane = scene * (field[:, :, None] * np.asarray(light.tint)).astype(np.float32)
    return lit


def expose(radiance: Plane, sensor: Sensor, rng: np.random.Generator) -> Image:
    """Turn radiance (h, w, 3) into the camera's picture: uint8 BGR (h, w, 3), blurred, vignetted, noisy, clipped."""
    height, width = radiance.shape[:2]
    soft = cv2.GaussianBlur(radiance, (0, 0), sensor.blur) if sensor.blur > 0 else radiance
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    levels = soft * (255 * (1 - np.float32(sensor.vignette / 2) * (across + down)))[:, :, None]
    if sensor.noise > 0:
        grain = rng.standard_normal(levels.shape, np.float32)
        levels = levels + grain * (sensor.noise * np.sqrt(0.3 + np.clip(levels, 0, 255) / 180))
    return np.asarray(np.clip(levels + 0.5, 0, 255), np.uint8)
