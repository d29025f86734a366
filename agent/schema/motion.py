"""The motion gate of one camera, as configured."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import Fraction, PositiveFloat, Struct


class MotionConfig(Struct):
    """The motion gate of one camera: while nothing moves the model looks only now and then.

    Attributes:
        enabled: Whether it may keep frames from the model.
        threshold: Least change of a pixel, grey levels of 255; what the picture's own noise changes is added.
        min_area: Least share of the picture that must move.
        hold_s: How long the model goes on looking after the last motion.
        idle_s: Greatest time between two looks where nothing moves, seconds.
        still_s: The same while the last look found an object.
        masks: Areas whose motion counts for nothing (a street, a tree, a clock): corners as shares of width and height.
    """

    enabled: bool = False
    threshold: Annotated[float, msgspec.Meta(ge=1, le=255)] = 12.0
    min_area: Fraction = 0.001
    hold_s: PositiveFloat = 2.0
    idle_s: PositiveFloat = 10.0
    still_s: PositiveFloat = 1.0
    masks: list[Annotated[list[tuple[Fraction, Fraction]], msgspec.Meta(min_length=3)]] = []
