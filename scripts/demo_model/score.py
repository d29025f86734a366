"""Measure the exported files, as shipped, with pycocotools: mAP50-95 and mAP50 on the video and on held-out stills.

score.py BUNDLED FILE...
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from stills import HELD_OUT

from agent.demo.annotations import coco
from agent.demo.scene import still

SIZE = 320
STILLS = 150
FIGURES = ("video_map50_95", "video_map50", "stills_map50_95", "stills_map50")
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def open_model(path: Path) -> Predict:
    """Something that maps (1, 3, 320, 320) to (4 + classes, anchors), boxes in pixels of the input."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda image: np.asarray(session.run(None, {"images": image})[0][0])
    return _open_litert(path)


def _open_litert(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    channels_last = given["shape"][-1] == 3

    def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(
            given["index"], image.transpose(0, 2, 3, 1) if channels_last else image
        )
        interpreter.invoke()
        result = np.array(interpreter.get_tensor(made["index"])[0])
        result[:4] *= SIZE  # LiteRT exports give fractions
        return result

    return predict


def letterbox(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float, tuple[int, int]]:
    """Fit the picture into the square input, grey around it; also the scale and the (x, y) margins."""
    scale = float(SIZE / max(image.shape[:2]))
    width, height = (round(int(side) * scale) for side in image.shape[1::-1])
    left, top = (SIZE - width) // 2, (SIZE - height) // 2
    square = np.full((SIZE, SIZE, 3), 114, np.uint8)
    square[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    planes = square[None, :, :, ::-1].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255), scale, (left, top)


def detect(predict: Predict, image: NDArray[np.uint8], image_id: int) -> list[dict[str, Any]]:
    """Detections in COCO result form, in pixels of `image`."""
    given, scale, margin = letterbox(image)
    result = predict(given).T
    places, kinds = np.nonzero(result[:, 4:] > 0.001)
    scores = result[places, kinds + 4]
    corner = (result[places, :2] - result[places, 2:4] / 2 - margin) / scale
    boxes = np.concatenate([corner, result[places, 2:4] / scale], axis=1)
    keep = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), kinds.tolist(), 0.001, 0.7)
    best = sorted(keep, key=lambda index: -scores[index])[:300]
    return [
        {
            "image_id": image_id,
            "category_id": int(kinds[i]),
            "bbox": boxes[i].tolist(),
            "score": float(scores[i]),
        }
        for i in best
    ]


def video(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The video's frames, uint8 BGR."""
    capture = cv2.VideoCapture(str(path))
    while (read := capture.read())[0]:
        yield np.asarray(read[1], np.uint8)


def score(
    predict: Predict, images: list[NDArray[np.uint8]], truth: dict[str, Any]
) -> tuple[float, float]:
    """mAP50-95 and mAP50."""
    found = [
        detection
        for index, image in enumerate(images)
        for detection in detect(predict, image, index)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def main(bundled: Path, files: list[Path]) -> None:
    """Print one Markdown table row for every file, and write `accuracy.json` for the demo's manifests."""
    frames = [still(HELD_OUT + seed) for seed in range(STILLS)]
    sets = (
        (
            list(video(bundled / "conveyor.mp4")),
            json.loads((bundled / "conveyor.json").read_text()),
        ),
        ([frame.image for frame in frames], coco(frames)),
    )
    print(
        "| file | kB | video mAP50-95 | video mAP50 | stills mAP50-95 | stills mAP50 |\n|---|---|---|---|---|---|"
    )
    measured: dict[str, dict[str, float]] = {}
    for path in files:
        predict = open_model(path)
        values = [
            round(value, 3) for images, truth in sets for value in score(predict, images, truth)
        ]
        measured[path.name] = dict(zip(FIGURES, values, strict=True))
        figures = " | ".join(f"{value:.3f}" for value in values)
        print(f"| {path.name} | {path.stat().st_size / 1000:.0f} | {figures} |", flush=True)
    (bundled / "accuracy.json").write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
