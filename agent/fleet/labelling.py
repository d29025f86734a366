"""Examples as a dataset for labelling and training, in the forms that the tools of the field read.

images/<device>-<camera>-<time>.jpg   pictures
instances.json                        COCO, categories numbered from 0 as the model numbers its classes
labels/<same name>.txt, data.yaml     YOLO: class, centre and size of each box as shares of the picture

Labels are what the model said, to be corrected by people: learned as they are, they teach it its own mistakes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.host.disk import storage_errors
from agent.schema.document import to_json, to_yaml
from agent.schema.examples import Example
from agent.schema.values import Box


def write_dataset(examples: Sequence[Example], out: Path) -> None:
    """Write a new folder, whole or not at all.

    Raises:
        ConfigError: There is something at `out`, or releases with other classes meet (`examples.classes`).
        StorageError: It cannot be written.
    """
    labels = _common_labels(examples)
    if out.exists():
        raise ConfigError(f"{out}: is there already", hint="name a new folder")
    unfinished = out.with_name(f".{out.name}.tmp")
    with storage_errors(out):
        shutil.rmtree(unfinished, ignore_errors=True)
        for name in ("images", "labels"):
            (unfinished / name).mkdir(parents=True)
        for one in examples:
            (unfinished / "images" / f"{name_of(one)}.jpg").write_bytes(one.jpeg)
            (unfinished / "labels" / f"{name_of(one)}.txt").write_text(yolo_label(one))
        (unfinished / "instances.json").write_bytes(to_json(_coco(examples, labels)))
        (unfinished / "data.yaml").write_text(to_yaml(_yolo(labels)))
        unfinished.rename(out)


def name_of(example: Example) -> str:
    """Return what an example's files are called."""
    return f"{example.device}-{example.camera}-{example.captured_ms}"


def yolo_label(example: Example) -> str:
    """Return a line for each box: class id, then x and y of its centre, width and height, in [0, 1]."""
    lines = []
    for box in example.boxes:
        x, y, width, height = _inside(box, example)
        across, down = example.width, example.height
        shares = ((x + width / 2) / across, (y + height / 2) / down, width / across, height / down)
        lines.append(" ".join([str(box.label), *(f"{share:.6f}" for share in shares)]))
    return "".join(f"{line}\n" for line in lines)


def _coco(examples: Sequence[Example], labels: Sequence[str]) -> dict[str, Any]:
    """Return COCO's instances; `reason` and what follows it of an image, and `score`, are this project's."""
    boxes = [(number, one, box) for number, one in enumerate(examples, 1) for box in one.boxes]
    return {
        "images": [
            {
                "id": number,
                "file_name": f"{name_of(one)}.jpg",
                "width": one.width,
                "height": one.height,
                "reason": one.reason.value,
                "cause": one.cause,
                "release": one.release,
            }
            for number, one in enumerate(examples, 1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": box.label,
                "bbox": (bbox := _inside(box, one)),
                "area": bbox[2] * bbox[3],
                "iscrowd": 0,
                "score": box.score,
            }
            for number, (image, one, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(labels)],
    }


def _yolo(labels: Sequence[str]) -> dict[str, Any]:
    # Without `path` the folders are those beside the file, wherever it is carried.
    return {"train": "images", "val": "images", "names": dict(enumerate(labels))}


def _inside(box: Box, example: Example) -> tuple[float, float, float, float]:
    """Return x, y, width and height, pixels, of the part of a box that lies in the picture."""
    x_min, x_max = (min(max(x, 0.0), example.width) for x in (box.x_min, box.x_max))
    y_min, y_max = (min(max(y, 0.0), example.height) for y in (box.y_min, box.y_max))
    return x_min, y_min, x_max - x_min, y_max - y_min


def _common_labels(examples: Sequence[Example]) -> list[str]:
    first = examples[0]
    for one in examples:
        if one.labels != first.labels:
            raise ConfigError(
                f"{one.release} has other classes than {first.release}",
                code="examples.classes",
                hint="export them apart, each with --release",
            )
    return first.labels
