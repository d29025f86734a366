"""Write the training stills: JPEG pictures and YOLO label files.

stills.py OUT COUNT [FIRST_SEED]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from agent.demo.scene import CLASSES, Frame, still

HELD_OUT = 1_000_000
"""Seeds from here on are never trained on."""


def picture(seed: int) -> Frame:
    """Three of four stills are square: they fill the network's input, letterboxed ones leave half of it grey."""
    return still(seed, 640, 360 if seed % 4 == 0 else 640)


def label_lines(frame: Frame) -> str:
    """The frame's labels as YOLO text: class, then centre and size as fractions of the picture."""
    height, width = frame.image.shape[:2]
    rows = []
    for label in frame.labels:
        x0, y0, x1, y1 = label.box
        numbers = (
            (x0 + x1) / 2 / width,
            (y0 + y1) / 2 / height,
            (x1 - x0) / width,
            (y1 - y0) / height,
        )
        rows.append(f"{label.kind} " + " ".join(f"{number:.6f}" for number in numbers))
    return "\n".join(rows)


def write(out: Path, count: int, first: int = 0) -> None:
    """Make `count` stills under `out`/images and `out`/labels, and the data set file `out`/data.yaml."""
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        frame = picture(seed)
        quality = int(np.random.default_rng(seed).integers(55, 96))
        cv2.imwrite(
            str(out / "images" / f"{seed:07}.jpg"), frame.image, [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        (out / "labels" / f"{seed:07}.txt").write_text(label_lines(frame))
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(CLASSES))
    (out / "data.yaml").write_text(
        f"path: {out.resolve()}\ntrain: images\nval: images\nnames:\n{names}"
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
