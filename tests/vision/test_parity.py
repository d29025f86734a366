"""The same boxes and the same accuracy as ultralytics' own predict, where it is installed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.schema.values import Box
from agent.vision.accuracy import Accuracy, coco_accuracy, coco_results
from agent.vision.dataset import Dataset, load_dataset
from agent.vision.detector import load_detector
from tests.parts.assets import asset
from tests.vision.models import read_picture
from tests.vision.ultralytics_peer import Row, predictions

MODELS = [("yolo11n_640_fp32deq.onnx", 640), ("yolo11n_320_fp32deq.onnx", 320)]
CONFIDENCE, IOU = 0.25, 0.6
SCORE_TOLERANCE, PIXELS = 0.01, 1.0


def pictures() -> list[Path]:
    dataset = asset("datasets/coco128/images")
    return [asset("images/bus.jpg"), asset("images/zidane.jpg"), *sorted(dataset.iterdir())[:20]]


def is_same(left: Row, right: Row) -> bool:
    corners = zip(left[2:], right[2:], strict=True)
    near = all(abs(one - other) <= PIXELS for one, other in corners)
    return left[0] == right[0] and abs(left[1] - right[1]) <= SCORE_TOLERANCE and near


def without_pair(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Those that the other side does not have, but for scores at the threshold itself."""
    sure = [row for row in rows if row[1] >= CONFIDENCE + SCORE_TOLERANCE]
    return [row for row in sure if not any(is_same(row, other) for other in others)]


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_every_box_is_where_ultralytics_predict_sees_it(name: str, size: int) -> None:
    model, paths = asset(f"models/{name}"), pictures()
    theirs = list(predictions(model, size, paths, CONFIDENCE, IOU))
    detector = load_detector(model, confidence=CONFIDENCE, iou=IOU)
    ours = [detector.detect(read_picture(path)).golden() for path in paths]
    assert sum(map(len, theirs)) > 50, "the judge itself sees next to nothing"
    for path, mine, wanted in zip(paths, ours, theirs, strict=True):
        assert without_pair(wanted, mine) == [], f"{path.name}: not found"
        assert without_pair(mine, wanted) == [], f"{path.name}: not there"


def scored(dataset: Dataset, found: Sequence[Sequence[Row]]) -> Accuracy:
    results = [
        result
        for number, rows in zip(dataset.files, found, strict=True)
        for result in coco_results(
            number,
            [
                Box(
                    label=row[0],
                    score=row[1],
                    x_min=row[2],
                    y_min=row[3],
                    x_max=row[4],
                    y_max=row[5],
                )
                for row in rows
            ],
        )
    ]
    return coco_accuracy(dataset.truth, results, list(dataset.files))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), MODELS)
def test_the_accuracy_is_that_of_ultralytics_predict(name: str, size: int) -> None:
    model = asset(f"models/{name}")
    dataset = load_dataset(
        asset("datasets/coco128/instances.json"), asset("datasets/coco128/images")
    )
    paths = [dataset.images / file for file in dataset.files.values()]
    theirs = scored(dataset, list(predictions(model, size, paths, 0.005, IOU)))
    detector = load_detector(model, confidence=0.005, iou=IOU)
    ours = scored(dataset, [detector.detect(read_picture(path)).golden() for path in paths])
    assert ours.map50_95 == pytest.approx(theirs.map50_95, abs=0.003)
    assert ours.map50 == pytest.approx(theirs.map50, abs=0.003)
