"""Examples as a device makes them."""

from __future__ import annotations

from typing import Any

from agent.schema.examples import EXAMPLE_VERSION, Example, Reason
from agent.schema.values import Box


def box(score: float, label: int = 0, corners: tuple[float, ...] = (10, 20, 50, 60)) -> Box:
    x_min, y_min, x_max, y_max = corners
    return Box(label=label, score=score, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)


def example(**changes: Any) -> Example:
    usual: dict[str, Any] = {
        "v": EXAMPLE_VERSION,
        "device": "cam-1",
        "camera": "door",
        "captured_ms": 1_700_000_000_000,
        "reason": Reason.UNCERTAIN,
        "release": "shop/yolo/1.2",
        "labels": ["person", "car"],
        "width": 160,
        "height": 90,
        "boxes": [box(0.3)],
        "jpeg": b"picture",
    }
    return Example(**{**usual, **changes})
