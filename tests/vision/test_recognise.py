"""Family, input and box units of a model, from its own tensors and nothing else."""

import numpy as np
import pytest

from agent.errors import ModelError
from agent.schema.manifest import InputSpec
from agent.vision.backends import TensorInfo
from agent.vision.recognise import Facts, Stated, recognise

F4 = np.dtype(np.float32)
CARD = {"names": "['a', 'b', 'c']", "task": "detect"}


class Loaded:
    """A loaded model with these shapes whose box coordinates reach up to `reach`."""

    def __init__(
        self, image: tuple[int, ...], result: tuple[int, ...], reach: float, card: dict[str, str]
    ) -> None:
        self.input = TensorInfo("images", image, F4)
        self.outputs = (TensorInfo("output0", result, F4),)
        self.metadata = card
        self.buffer = np.zeros(image, np.float32)
        self.reach = reach

    def infer(self) -> list[np.ndarray]:
        return [np.full(self.outputs[0].shape, self.reach, np.float32)]


def facts(
    result: tuple[int, ...],
    reach: float = 300.0,
    image: tuple[int, ...] = (1, 3, 320, 320),
    card: dict[str, str] | None = None,
    stated: Stated = Stated(),  # noqa: B008 - a value
) -> Facts:
    loaded = Loaded(image, result, reach, CARD if card is None else card)
    return recognise(loaded, loaded.infer(), stated)


@pytest.mark.parametrize(
    ("result", "family"),
    [
        ((1, 7, 2100), "ultralytics"),
        ((1, 6300, 8), "ultralytics-v5"),
        ((1, 300, 6), "ultralytics-e2e"),
    ],
)
def test_the_family_shows_in_metadata_and_output_shape(
    result: tuple[int, ...], family: str
) -> None:
    assert facts(result).family == family


def test_an_output_that_fits_no_head_asks_for_the_family() -> None:
    with pytest.raises(ModelError) as caught:
        facts((1, 99, 17))
    assert caught.value.code == "model.ambiguous"
    assert "--family" in caught.value.hint


@pytest.mark.parametrize(("reach", "units"), [(1.02, "normalised"), (318.0, "pixels")])
def test_box_units_are_measured(reach: float, units: str) -> None:
    assert facts((1, 7, 2100), reach).box_units == units


def test_what_is_stated_wins() -> None:
    spec = InputSpec(width=320, height=320, colour="bgr")
    stated = Stated("yolox", ["x", "y"], spec, "normalised")
    assert facts((1, 7, 2100), stated=stated) == Facts("yolox", ("x", "y"), spec, "normalised")


def test_size_and_layout_come_from_the_tensor_and_colours_from_the_family() -> None:
    wide = facts((1, 7, 2100), image=(1, 192, 320, 3)).input
    assert (wide.width, wide.height, wide.layout, wide.colour) == (320, 192, "nhwc", "rgb")
    stated = Stated("yolox", ["x"])
    bgr = facts((1, 2100, 6), stated=stated, card={}).input
    assert (bgr.colour, bgr.scale, bgr.letterbox) == ("bgr", 1.0, "top-left")


def test_an_input_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        facts((1, 7, 2100), image=(1, 10))
    assert caught.value.code == "model.shape"
