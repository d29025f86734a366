"""Figures of pictures that were made to have them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.schema.drift import GRID, FigureRules, FrameFigures
from agent.schema.manifest import InputSpec
from agent.vision.detector import Detected
from agent.vision.figures import FigureClock, figures_of
from agent.vision.image import Frame, Scaler
from tests.parts.drifting import BUNDLED, CONVEYOR, PARTS, look, pictures, strange, unspoiled

SPEC = InputSpec(width=320, height=320)
NOTHING = Detected(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), {})


def figures(picture: Frame, found: Detected = NOTHING) -> FrameFigures:
    return figures_of(Scaler(SPEC).scale(picture), found, 0.25)


def plain(blue: int, green: int, red: int) -> Frame:
    return np.full((180, 320, 3), (blue, green, red), np.uint8)


def test_a_plain_picture_has_its_colour_and_nothing_else() -> None:
    found = figures(plain(60, 120, 180))
    assert found.brightness == pytest.approx(0.114 * 60 + 0.587 * 120 + 0.299 * 180, abs=1)
    assert (found.red, found.blue) == (1.5, 0.5)
    assert (found.contrast, found.sharpness, found.noise) == (0, 0, 0)
    assert (found.dark, found.bright) == (0, 0)


def test_black_and_white_are_under_and_over_exposed() -> None:
    picture = plain(0, 0, 0)
    picture[:45] = 255
    found = figures(picture)
    assert (found.dark, found.bright) == (0.75, 0.25)


def test_noise_is_measured_as_it_was_added() -> None:
    noise = np.random.default_rng(1).normal(0, 10, (180, 320))
    grey = np.clip(128 + noise, 0, 255).astype(np.uint8)
    assert figures(cv2.merge([grey] * 3)).noise == pytest.approx(10, rel=0.05)  # type: ignore[arg-type]


def test_detail_is_where_the_edges_are() -> None:
    picture = plain(100, 100, 100)
    picture[:30, :40:4] = 200
    found = figures(picture)
    assert len(found.levels) == len(found.detail) == GRID[0] * GRID[1]
    assert found.detail[0] == max(found.detail) > 20
    assert found.detail[-1] == 0
    assert found.sharpness > 100


def test_objects_under_the_threshold_do_not_count() -> None:
    boxes = np.array([[0, 0, 160, 90], [0, 0, 10, 10]], np.float32)
    scores, labels = np.array([0.8, 0.2], np.float32), np.array([3, 1], np.int32)
    found = figures(plain(90, 90, 90), Detected(boxes, scores, labels, {}))
    assert (found.scores, found.labels, found.sizes, found.doubts) == ([0.8], [3], [0.5], 1)


@pytest.mark.parametrize("model", ["parts-1.onnx", "parts-1.tflite"])
def test_what_no_class_knows_is_doubted_by_every_runtime(model: str) -> None:
    looks = look(PARTS.load(BUNDLED / model), pictures(CONVEYOR, 60), unspoiled)
    strangers = look(PARTS.load(BUNDLED / model), pictures(CONVEYOR, 60), strange)
    before, then = (sum(one.doubts for one in some) for some in (looks, strangers))
    assert then > before + 2 * len(looks)


def test_one_frame_in_so_many_seconds_is_measured() -> None:
    clock = FigureClock(FigureRules(every_s=1.0, confidence=0.25))
    due = [tenth for tenth in range(35) if clock.is_due(tenth * 100_000_000)]
    assert due == [0, 10, 20, 30]
    assert not FigureClock(None).is_due(1)
