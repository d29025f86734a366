"""Ground truth in COCO form, as the bundled `conveyor.json` holds it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.demo.scene import CLASSES, Frame, Label


def coco(frames: Iterable[Frame], note: str = "") -> dict[str, Any]:
    """Describe `frames` in COCO form.

    Image ids are frame indices, category ids are class ids (both from 0), annotation ids count from 1, boxes are
    [x, y, width, height] in pixels. Two fields are ours: `track_id`, the object's stable number, and `visible`, the
    share of it (0..1) that shows.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, frame in enumerate(frames):
        height, width = frame.image.shape[:2]
        images.append(
            {"id": index, "file_name": f"{index:06}.jpg", "width": width, "height": height}
        )
        annotations += [
            _annotation(label, index, len(annotations) + 1 + place)
            for place, label in enumerate(frame.labels)
        ]
    categories = [{"id": index, "name": name} for index, name in enumerate(CLASSES)]
    return {
        "info": {"description": note},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _annotation(label: Label, image_id: int, number: int) -> dict[str, Any]:
    x0, y0, x1, y1 = label.box
    return {
        "id": number,
        "image_id": image_id,
        "category_id": label.kind,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
        "track_id": label.track_id,
        "visible": round(label.visible, 3),
    }
