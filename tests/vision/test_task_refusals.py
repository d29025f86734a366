"""Outputs of every task that make no sense are refused by name."""

from collections.abc import Callable

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.details import Keypoints, Masks, Rotated
from agent.vision.families import Decoder, Head, open_decoder
from tests.vision.heads import (
    CLASSES,
    MASKS,
    PERSON,
    POINTS,
    SIDE,
    anchors,
    decode,
    head,
    prototypes,
)

GOOD: dict[str, Callable[[], list[np.ndarray]]] = {
    "pose": lambda: [anchors(6, PERSON)],
    "segment": lambda: [anchors(MASKS, (32, 32, 40, 20, 0, 0.5, 0, 1, 0, 0)), prototypes()],
    "obb": lambda: [anchors(1, (30, 30, 20, 10, 1, 0.5, 0.1))],
    "classify": lambda: [np.array([[0.1, 0.7, 0.2]], np.float32)],
}
tasks = pytest.mark.parametrize("task", GOOD)


def code_of(decoder: Decoder, outputs: list[np.ndarray]) -> str:
    with pytest.raises(ModelError) as caught:
        decoder.decode(outputs, 0.25, 0.6)
    return caught.value.code


@tasks
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused(task: str, value: float) -> None:
    outputs = GOOD[task]()
    outputs[0][...] = value
    assert code_of(open_decoder("ultralytics", head(), task), outputs) == "model.not_finite"


@pytest.mark.parametrize("task", ["pose", "segment", "obb"])
def test_extras_that_are_not_finite_are_refused(task: str) -> None:
    outputs = GOOD[task]()
    outputs[0][0, -1, 0] = np.nan
    assert code_of(open_decoder("ultralytics", head(), task), outputs) == "model.not_finite"


@tasks
@pytest.mark.parametrize("shape", [(1, 3, 3, 3, 3), (2, 20, 6), ()])
def test_outputs_of_another_shape_are_refused(task: str, shape: tuple[int, ...]) -> None:
    decoder = open_decoder("ultralytics", head(), task)
    assert code_of(decoder, [np.zeros(shape, np.float32)]) == "model.shape"
    assert code_of(decoder, []) == "model.shape"


@tasks
def test_another_number_of_classes_is_refused(task: str) -> None:
    decoder = open_decoder("ultralytics", Head(5, SIDE, SIDE, keypoints=(POINTS, 3)), task)
    assert code_of(decoder, GOOD[task]()) == "model.classes"


@pytest.mark.parametrize(("task", "extras"), [("pose", 6), ("segment", MASKS), ("obb", 1)])
def test_everything_everywhere_is_refused(task: str, extras: int) -> None:
    flood = np.full((1, 4 + CLASSES + extras, 2100), 0.9, np.float32)
    decoder = open_decoder("ultralytics", head(), task)
    assert code_of(decoder, [flood, *GOOD[task]()[1:]]) == "model.flood"


@pytest.mark.parametrize("task", ["pose", "segment", "obb"])
def test_a_picture_without_objects_has_empty_details(task: str) -> None:
    outputs = GOOD[task]()
    outputs[0][...] = 0
    found = decode(task, outputs)
    assert found.xyxy.shape == (0, 4)
    assert isinstance(found.details, (Keypoints, Masks, Rotated))
    assert len(found.details) == 0


@pytest.mark.parametrize("family", ["yolox", "ssd-postprocess", "ultralytics-v5"])
def test_families_that_only_detect_refuse_other_tasks_by_name(family: str) -> None:
    with pytest.raises(ModelError, match=f"{family}-pose") as caught:
        open_decoder(family, head(), "pose")
    assert caught.value.code == "model.task"
