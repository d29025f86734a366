"""An exported dataset opens in ultralytics, where it is installed: checked and validated as its users do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec

from agent.fleet.labelling import write_dataset
from agent.schema.examples import Reason
from agent.schema.values import Box
from agent.vision.detector import load_detector
from tests.examples.conftest import example
from tests.parts.assets import asset
from tests.vision.models import read_picture
from tests.vision.ultralytics_peer import python_with_ultralytics

_VALIDATE = """
import json, sys
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
data, model = sys.argv[1:]
found = check_det_dataset(data)
metrics = YOLO(model, task="detect").val(data=data, imgsz=320, batch=1, device="cpu", plots=False, verbose=False,
                                         project=data + ".runs")
print(json.dumps({"names": len(found["names"]), "map50": metrics.box.map50}))
"""


def test_a_dataset_of_examples_is_checked_and_validated(tmp_path: Path) -> None:
    python, model = python_with_ultralytics(), asset("models/yolo11n_320_fp32deq.onnx")
    detector = load_detector(model, confidence=0.25, iou=0.6)
    examples = []
    for number, path in enumerate([asset("images/bus.jpg"), asset("images/zidane.jpg")]):
        picture = read_picture(path)
        boxes = msgspec.convert(detector.detect(picture).golden(), list[Box])
        examples.append(
            example(
                reason=Reason.CONTROL,
                captured_ms=number,
                labels=list(detector.labels),
                width=picture.shape[1],
                height=picture.shape[0],
                boxes=boxes,
                jpeg=path.read_bytes(),
            )
        )
    write_dataset(examples, tmp_path / "dataset")
    done = subprocess.run(
        [python, "-c", _VALIDATE, str(tmp_path / "dataset/data.yaml"), str(model)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["names"] == len(detector.labels)
    # The labels are the same model's own boxes.
    assert found["map50"] > 0.9
    assert sum(map(len, (one.boxes for one in examples))) > 4
