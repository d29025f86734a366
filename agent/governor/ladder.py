"""The ladder: everything this device can do less of, from the best down, ordered by what it costs.

A rung is one of the release's variants on this device at one frame-rate cap. Its load is the share of a
second that inference is busy: expected milliseconds a frame x frames a second x cameras.

- The top rung is the chosen variant at the cameras' own rate; nothing dearer is offered.
- A rung that costs no less than another with no fewer frames and no less accuracy is left out, and so is
  one that saves less than a seventh: a move must be worth its event.
- The last rung keeps the cheapest variant at a quarter of the profile's least rate: a device in distress
  still sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.schema.manifest import Variant

_WORTH = 0.86  # share of the load above that a rung may have at most
_DISTRESS = 0.25  # share of the least rate that the last rung keeps
_WIDE = 1.8  # ratio of rates from which a rung between them is worth having
_UNKNOWN_MS_PER_PIXEL = 1e-4  # ranks variants that nobody has a figure for; about a Raspberry Pi 5


@dataclass(frozen=True)
class Rung:
    """One way to run.

    Attributes:
        name: Unique on the ladder, for example `onnx-fp32-320@10`; without a rate at the cameras' own.
        variant: Id of the variant.
        max_fps: Frame-rate cap of every camera; None at the cameras' own rate.
        fps: Frames a second of one camera that are expected.
        cost_ms: Expected milliseconds of inference a frame.
        memory_mb: Working set, MiB.
        accuracy: The variant's, in [0, 1].
        cameras: Number of cameras.
    """

    name: str
    variant: str
    max_fps: float | None
    fps: float
    cost_ms: float
    memory_mb: int = 0
    accuracy: float = 0.0
    cameras: int = 1

    @property
    def load(self) -> float:
        """Share of a second that inference is busy; above 1 frames are dropped."""
        return self.cost_ms * self.fps * self.cameras / 1000


Ladder = tuple[Rung, ...]


@dataclass(frozen=True)
class Rates:
    """Frames a second of one camera: `full` is its own rate, `least` what the profile promises."""

    full: float
    least: float
    cameras: int = 1


def build_ladder(
    variants: Sequence[Variant], costs_ms: Mapping[str, float | None], rates: Rates
) -> Ladder:
    """Return the rungs from the best down; never empty.

    Args:
        variants: Those on this device, the chosen one first.
        costs_ms: Expected milliseconds by variant id, measured or published; None where unknown.
        rates: What the cameras give and what the profile asks for.
    """
    costs = _costs(variants, costs_ms)
    top = _rung(variants[0], None, costs, rates)
    rungs = [_rung(variant, rate, costs, rates) for variant in variants for rate in _caps(rates)]
    below = [rung for rung in rungs if rung.load < top.load and not _is_beaten(rung, rungs)]
    ladder = [top]
    for rung in sorted(below, key=lambda one: (-one.load, -one.accuracy)):
        if rung.load <= _WORTH * ladder[-1].load:
            ladder.append(rung)
    cheapest = min(variants, key=lambda variant: costs[variant.id])
    return (*ladder, _rung(cheapest, min(rates.full, rates.least) * _DISTRESS, costs, rates))


def place_of(name: str, ladder: Ladder) -> int | None:
    """Return the index of the rung with this name; None when there is none."""
    return next((index for index, rung in enumerate(ladder) if rung.name == name), None)


def first_of(variant: str, ladder: Ladder) -> int:
    """Return the index of a variant's best rung; the top where it has none."""
    return next((index for index, rung in enumerate(ladder) if rung.variant == variant), 0)


def without_variant(ladder: Ladder, variant: str) -> Ladder:
    """Return the ladder without a variant that turned out not to run; its top stays."""
    return (ladder[0], *(rung for rung in ladder[1:] if rung.variant != variant))


def _caps(rates: Rates) -> list[float | None]:
    least = min(rates.full, rates.least)
    middle = [math.sqrt(rates.full * least)] if rates.full / least >= _WIDE else []
    return [None, *middle, *([least] if least < rates.full else [])]


def _rung(
    variant: Variant, max_fps: float | None, costs: Mapping[str, float], rates: Rates
) -> Rung:
    cap = None if max_fps is None else round(max_fps, 2)
    return Rung(
        name=variant.id if cap is None else f"{variant.id}@{cap:g}",
        variant=variant.id,
        max_fps=cap,
        fps=rates.full if cap is None else cap,
        cost_ms=costs[variant.id],
        memory_mb=variant.memory_mb,
        accuracy=variant.accuracy,
        cameras=max(1, rates.cameras),
    )


def _costs(variants: Sequence[Variant], known_ms: Mapping[str, float | None]) -> dict[str, float]:
    """Return a figure for every variant; unknown ones by pixels, at the rate of a known one."""
    known = {
        variant.id: cost for variant in variants if (cost := known_ms.get(variant.id)) is not None
    }
    per_pixel = [known[one.id] / _pixels(one) for one in variants if one.id in known]
    rate = per_pixel[0] if per_pixel else _UNKNOWN_MS_PER_PIXEL
    return {one.id: known.get(one.id, rate * _pixels(one)) for one in variants}


def _pixels(variant: Variant) -> int:
    return variant.input.width * variant.input.height


def _is_beaten(rung: Rung, rungs: Sequence[Rung]) -> bool:
    return any(
        other.load <= rung.load
        and other.accuracy >= rung.accuracy
        and other.fps >= rung.fps
        and (other.load, other.accuracy, other.fps) != (rung.load, rung.accuracy, rung.fps)
        for other in rungs
    )
