"""Train one release of the demo detector from nothing (release 2 goes on from release 1).

train.py 1|2 WORK        WORK/stills-1, WORK/stills-2 -> WORK/parts-1.pt, WORK/parts-2.pt
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO

RECIPE: dict[str, Any] = {
    "imgsz": 320, "batch": 16, "nbs": 16, "warmup_bias_lr": 0.0, "warmup_epochs": 1.0, "device": "cpu", "optimizer": "AdamW", "cos_lr": True, "amp": False, "seed": 11,
    "deterministic": True, "workers": 1, "cache": "ram", "rect": False, "plots": False, "val": False,
    "degrees": 0.0, "fliplr": 0.5, "flipud": 0.5, "translate": 0.1, "hsv_h": 0.02, "hsv_s": 0.5, "hsv_v": 0.3,
}  # fmt: skip
"""Shared settings. No rotation: it would loosen the exact boxes. The scene turns its parts itself.
`nbs` equal to `batch` makes every batch a step: by default four are gathered, too few steps for so short a training."""

RELEASES: dict[str, dict[str, Any]] = {
    "1": {
        "pretrained": False,
        "epochs": 20,
        "lr0": 0.003,
        "mosaic": 0.3,
        "close_mosaic": 8,
        "scale": 0.25,
    },
    "2": {
        "pretrained": True,
        "epochs": 16,
        "lr0": 0.003,
        "mosaic": 0.2,
        "close_mosaic": 8,
        "scale": 0.25,
    },
}


def use_both_cores(_: object) -> None:
    """Ultralytics leaves one core idle; training is the only thing this machine does."""
    torch.set_num_threads(2)


def train(release: str, work: Path) -> Path:
    """Train `release` on its stills; returns the weights file."""
    start = Path(__file__).with_name("parts-yolo11.yaml") if release == "1" else work / "parts-1.pt"
    model = YOLO(str(start), task="detect")
    model.add_callback("on_train_start", use_both_cores)
    stills = work / f"stills-{release}" / "data.yaml"
    model.train(
        data=str(stills),
        project=str(work / "runs"),
        name=release,
        exist_ok=True,
        **RECIPE,
        **RELEASES[release],
    )
    weights = work / f"parts-{release}.pt"
    shutil.copy(work / "runs" / release / "weights" / "last.pt", weights)
    return weights


if __name__ == "__main__":
    print(train(sys.argv[1], Path(sys.argv[2])))
