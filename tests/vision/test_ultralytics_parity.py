"""The same boxes, key points, masks, rotated boxes and probabilities as ultralytics' own predict.

Runs where `VIGIL_BENCH_PYTHON` names an interpreter that has ultralytics.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from agent.vision.details import Keypoints, Masks, Ranking, Rotated
from agent.vision.detector import Detected, load_detector
from tests.vision import models
from tests.vision.ultralytics_peer import python_with_ultralytics

SIZE = 160
SCRIPT = Path(__file__).with_name("ultralytics_reference.py")
PIXEL, SCORE = 1.0, 0.01
# Networks and our IoU limit. Ultralytics leaves final boxes as they are, so we do here.
NETWORKS = {"yolov8n": 0.6, "yolo11n": 0.6, "yolo26n": 1.0}
networks = pytest.mark.parametrize("network", NETWORKS)
Reference = dict[str, np.ndarray]


def compared(network: str, task: str, folder: Path) -> tuple[Detected, Reference]:
    """What we find and what ultralytics finds with the same file and picture."""
    command = [python_with_ultralytics(), str(SCRIPT), network, task, str(SIZE), str(folder)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    detector = load_detector(folder / "model.onnx", confidence=0.25, iou=NETWORKS[network])
    assert detector.task == task
    found = detector.detect(models.read_picture(folder / "picture.png"))
    return found, dict(np.load(folder / "reference.npz"))


def same_objects(found: Detected, reference: Reference) -> None:
    assert len(reference["scores"]) >= 5, "the reference finds too little to compare"
    assert len(found.scores) == len(reference["scores"])
    assert found.scores == pytest.approx(reference["scores"], abs=SCORE)
    assert found.labels.tolist() == reference["labels"].astype(int).tolist()


@networks
@pytest.mark.timeout(300)
def test_boxes_are_the_same(tmp_path: Path, network: str) -> None:
    found, reference = compared(network, "detect", tmp_path)
    same_objects(found, reference)
    assert found.boxes == pytest.approx(reference["boxes"], abs=PIXEL)


@networks
@pytest.mark.timeout(300)
def test_keypoints_are_the_same(tmp_path: Path, network: str) -> None:
    found, reference = compared(network, "pose", tmp_path)
    same_objects(found, reference)
    assert found.boxes == pytest.approx(reference["boxes"], abs=PIXEL)
    assert isinstance(found.details, Keypoints)
    assert found.details.xy == pytest.approx(reference["keypoints"][..., :2], abs=PIXEL)
    assert found.details.scores == pytest.approx(reference["keypoints"][..., 2], abs=SCORE)


@networks
@pytest.mark.timeout(300)
def test_masks_are_the_same(tmp_path: Path, network: str) -> None:
    found, reference = compared(network, "segment", tmp_path)
    same_objects(found, reference)
    assert found.boxes == pytest.approx(reference["boxes"], abs=PIXEL)
    assert isinstance(found.details, Masks)
    height, width = models.read_picture(tmp_path / "picture.png").shape[:2]
    for index, mask in enumerate(reference["masks"]):
        wanted = without_padding(mask, width, height)
        ours = in_input(found.details, index, width, height)
        assert overlap(ours, wanted) > 0.95


@networks
@pytest.mark.timeout(300)
def test_rotated_boxes_are_the_same(tmp_path: Path, network: str) -> None:
    found, reference = compared(network, "obb", tmp_path)
    same_objects(found, reference)
    assert isinstance(found.details, Rotated)
    assert found.details.corners() == pytest.approx(reference["corners"], abs=PIXEL)


@pytest.mark.parametrize("network", ["yolov8n", "yolo11n"])
@pytest.mark.timeout(300)
def test_class_probabilities_are_the_same(tmp_path: Path, network: str) -> None:
    found, reference = compared(network, "classify", tmp_path)
    assert isinstance(found.details, Ranking)
    wanted = reference["probabilities"]
    assert wanted.max() > 0.02, "the reference has no opinion"
    assert found.details.labels.tolist() == np.argsort(-wanted)[:5].tolist()
    assert found.details.scores == pytest.approx(np.sort(wanted)[:-6:-1], abs=SCORE / 10)


def without_padding(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """The part of an input-sized mask in which the picture lies."""
    scale = SIZE / max(width, height)
    columns, rows = round(width * scale), round(height * scale)
    left, top = round((SIZE - columns) / 2 - 0.1), round((SIZE - rows) / 2 - 0.1)
    return mask[top : top + rows, left : left + columns] > 0


def in_input(masks: Masks, index: int, width: int, height: int) -> np.ndarray:
    """One of our masks, as the picture scaled to the input has it."""
    scale = SIZE / max(width, height)
    columns, rows = round(width * scale), round(height * scale)
    canvas = np.zeros((rows, columns), bool)
    left, top = np.rint(masks.origins[index] / masks.pixel).astype(int)
    window = masks.windows[index]
    canvas[top : top + window.shape[0], left : left + window.shape[1]] = window
    return canvas


def overlap(left: np.ndarray, right: np.ndarray) -> float:
    either = (left | right).sum()
    return float((left & right).sum() / either) if either else 1.0
