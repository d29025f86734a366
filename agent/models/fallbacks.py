"""Which further variants of a release are worth having on the device: cheaper ones, for hard times. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.schema.manifest import Manifest, Variant
    from agent.schema.profile import Choice

_CHEAPER = 0.7  # share of the time of the one before that a fallback may take


def fallbacks(manifest: Manifest, choice: Choice, count: int) -> list[Variant]:
    """Return up to `count` variants that fit this board, each clearly quicker than the one before.

    Among those that are quick enough the most accurate comes first. Without a figure for the chosen
    variant's time nothing can be said to be quicker, and there is none.
    """
    expected = {
        verdict.variant: verdict.expected_ms
        for verdict in choice.verdicts
        if (verdict.fits or verdict.variant == choice.variant) and verdict.expected_ms is not None
    }
    most_ms = _CHEAPER * expected.get(choice.variant or "", -math.inf)
    found: list[Variant] = []
    for variant in sorted(manifest.variants, key=lambda one: (-one.accuracy, one.id)):
        if len(found) < count and expected.get(variant.id, math.inf) <= most_ms:
            found.append(variant)
            most_ms = _CHEAPER * expected[variant.id]
    return found
