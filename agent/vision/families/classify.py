"""Classifiers: `(1, classes)`, one probability for each class of the whole picture.

Ultralytics' exported graphs end in a softmax (ultralytics/nn/modules/head.py, Classify); others may end in
logits, which is stated by whoever ships them (`class_scores`), never guessed. The best class also becomes
one box round all that the network saw, so that thresholds, golden sets, tracks and events work as for objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.errors import ModelError
from agent.vision.details import Ranking
from agent.vision.families import Boxes
from agent.vision.families.candidates import (
    expect_outputs,
    require_finite,
    wrong_classes,
    wrong_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.vision.families import Float32, Head

TOP = 5
# Quantised probabilities are whole multiples of 1/256, so each may be half of that off.
_ROUNDING = 1 / 512
_TOLERANCE = 0.01


class Classify:
    """See the module."""

    def __init__(self, head: Head) -> None:
        if head.class_scores not in {"probabilities", "logits"}:
            message = f"expected class scores probabilities or logits, found {head.class_scores!r}"
            raise ModelError(message, code="model.family")
        self._head = head

    def decode(self, outputs: Sequence[Float32], confidence: float, iou: float) -> Boxes:
        """See `agent.vision.families.Decoder`; `iou` has no effect."""
        del iou
        scores = self._probabilities(outputs)
        best = np.argsort(-scores, kind="stable")[:TOP].astype(np.int32)
        ranking = Ranking(best, scores[best])
        named = best[:1][scores[best[:1]] >= confidence]
        whole = np.array([[0, 0, self._head.width, self._head.height]], np.float32)
        return Boxes(whole[: len(named)], scores[named], named, ranking)

    def _probabilities(self, outputs: Sequence[Float32]) -> Float32:
        """Return the probability of each class, shape (classes,)."""
        expect_outputs(outputs, 1, "(1, classes)")
        match outputs[0].shape:
            case (1, _):
                scores = np.array(outputs[0][0], np.float32)
            case shape:
                raise wrong_shape("(1, classes)", shape)
        if len(scores) != self._head.classes:
            raise wrong_classes(self._head.classes, len(scores))
        require_finite(scores)
        if self._head.class_scores == "logits":
            return _softmax(scores)
        _check(scores)
        return scores


def _softmax(logits: Float32) -> Float32:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    shares: Float32 = (powers / powers.sum()).astype(np.float32)
    return shares


def _check(scores: Float32) -> None:
    """Refuse what cannot be probabilities of classes that exclude each other."""
    total = float(scores.sum())
    slack = _TOLERANCE + _ROUNDING * len(scores)
    if scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE or abs(total - 1) > slack:
        raise ModelError(
            f"expected class probabilities that add up to 1, found a sum of {total:.3f}",
            code="model.class_scores",
            hint="if the graph ends before its softmax, state it: --class-scores logits",
        )
