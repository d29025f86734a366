"""The demo's conveyor drawn anew with another surface or other parts: a camera of which much is the same, and one thing is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.demo import scene
from agent.demo.parts import Part
from agent.demo.surface import Sensor, belt

EVERY = 4


def as_it_is(part: Part) -> Part:
    """The part without a change."""
    return part


@dataclass(frozen=True)
class Belt(scene.Conveyor):
    """A conveyor; `style` is its surface, `change` what becomes of every part."""

    style: str = "rubber"
    change: Callable[[Part], Part] = as_it_is

    def shots(self) -> list[NDArray[np.uint8]]:
        """Draw every fourth picture of a turn, without the glare, under a lamp that wanders by 2 %."""
        dice = np.random.default_rng([self.seed, 1, 1])
        surface = belt(dice, self.length, self.height, self.style)
        return [
            self._shot(surface, index)
            for index in range(0, self.frames, EVERY)
            if not self.glare[0] <= index < self.glare[1]
        ]

    def _shot(self, surface: NDArray[np.float32], index: int) -> NDArray[np.uint8]:
        travel = self._travel(index)
        seen = (self._seen(loose, travel, 0) for loose in scene._conveyor_parts(self))
        moved = scene._slide(surface, travel, self.width)
        dice = np.random.default_rng([self.seed, index])
        light = self.light(index)
        light = replace(light, gain=light.gain * (1 + 0.02 * float(dice.normal())))
        parts = [self.change(part) for part in seen if part]
        return scene.photograph(moved, parts, light, Sensor(0.7, 2.5, 0.25), dice).image
