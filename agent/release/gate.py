"""The gate before sealing: may this variant be released? Pure: measurements in, reasons against it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.schema.values import Counter, Fraction, Positive, PositiveFloat, Struct

_CLASSES_NAMED = 3
# What a draft may round its accuracy up by.
_CLAIM_SLACK = 0.005


class Budget(Struct):
    """What a variant may lose against the model that it was made from.

    Attributes:
        max_drop: Loss of mAP50-95.
        max_class_drop: Loss of mAP50-95 of a single class, judged where it has objects enough to say so.
        class_objects: So many objects of a class are enough.
        min_match: Share of the source's boxes in the golden pictures that it must find (same label, overlap and score within
            tolerance), and share of its boxes that must be the source's.
        iou: Least overlap of a match.
        score_tolerance: Greatest difference of scores of a match.
        repeat_tolerance: Greatest difference of two runs on the same input, relative to the output's largest value.
    """

    max_drop: Fraction = 0.01
    max_class_drop: Fraction = 0.05
    class_objects: Positive = 50
    min_match: Fraction = 0.8
    iou: Fraction = 0.7
    score_tolerance: Fraction = 0.2
    repeat_tolerance: PositiveFloat = 1e-5


class ClassLoss(Struct):
    """What one class lost, in mAP50-95, judged on so many objects."""

    label: str
    objects: Counter
    drop: float


class Evidence(Struct):
    """What was measured of one variant.

    Attributes:
        claimed: Accuracy that its draft states.
        accuracy: mAP50-95 on the validation set.
        reference: The same of the model that it was made from.
        losses: By class, those that lost most first.
        recall: Share of the source's boxes in the golden pictures that it found.
        precision: Share of its boxes that are the source's.
        repeat: Greatest difference of two runs on the same input, relative to the output's largest value.
        fault: Why it could not be measured: it does not load, has other shapes, gives NaN.
    """

    variant: str
    claimed: float
    accuracy: float = 0.0
    reference: float = 0.0
    losses: Sequence[ClassLoss] = ()
    recall: float = 0.0
    precision: float = 0.0
    repeat: float = 0.0
    fault: str = ""

    @property
    def drop(self) -> float:
        """Return how much of mAP50-95 it lost; negative where it gained."""
        return round(self.reference - self.accuracy, 4)


def reasons_against(found: Evidence, budget: Budget) -> list[str]:
    """Return why a variant must not be released, empty where it may."""
    return [found.fault] if found.fault else list(_reasons(found, budget))


def _reasons(found: Evidence, budget: Budget) -> Iterator[str]:
    if found.drop > budget.max_drop:
        most = ", ".join(f"{one.label} {one.drop:.3f}" for one in found.losses[:_CLASSES_NAMED])
        yield f"loses {found.drop:.4f} of mAP50-95, {budget.max_drop:.4f} may be lost; most: {most}"
    judged = [one for one in found.losses if one.objects >= budget.class_objects]
    if found.drop <= budget.max_drop and judged and judged[0].drop > budget.max_class_drop:
        worst = judged[0]
        yield f"class {worst.label} loses {worst.drop:.4f}, {budget.max_class_drop:.4f} may be lost"
    for name, share in (("finds", found.recall), ("shares", found.precision)):
        if share < budget.min_match:
            whose = "the source's" if name == "finds" else "its"
            yield f"{name} {share:.3f} of {whose} golden boxes, expected {budget.min_match} or more"
    if found.repeat > budget.repeat_tolerance:
        yield (
            f"two runs on one input differ by {found.repeat:.3g} of the largest value, "
            f"{budget.repeat_tolerance:.3g} may differ"
        )
    if found.claimed > found.accuracy + _CLAIM_SLACK:
        yield f"its draft claims an accuracy of {found.claimed:.4f}, measured {found.accuracy:.4f}"
