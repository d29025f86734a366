"""Does a converted model still see what the model it was made from sees, and twice the same?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.vision.golden import Matched, match

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from agent.vision.detector import Detector
    from agent.vision.golden import MatchRule


@dataclass(frozen=True)
class Fidelity:
    """What a comparison found.

    Attributes:
        matched: Boxes of the reference, of the model, and pairs, over all pictures.
        repeat: Greatest difference of two runs on the same input, relative to the output's largest value.
    """

    matched: Matched
    repeat: float


def compare_on(
    pictures: Iterable[NDArray[np.uint8]],
    model: Detector,
    reference: Detector,
    rule: MatchRule,
) -> Fidelity:
    """Show both the same BGR pictures, shape (H, W, 3).

    Raises:
        ModelError: A runtime gives up or its outputs make no sense.
    """
    matched, repeat = Matched(), 0.0
    for picture in pictures:
        found = model.detect(picture).golden()
        matched += match(reference.detect(picture).golden(), found, rule)
        repeat = max(repeat, _difference_of_two_runs(model))
    return Fidelity(matched, repeat)


def _difference_of_two_runs(model: Detector) -> float:
    """Run twice on what lies in the input buffer."""
    first = [output.copy() for output in model.infer()]
    pairs = zip(first, model.infer(), strict=True)
    return max(
        float(np.abs(one - other).max(initial=0.0) / max(float(np.abs(one).max(initial=0.0)), 1e-9))
        for one, other in pairs
    )
