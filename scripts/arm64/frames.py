"""Write some frames of a video as pictures: python scripts/arm64/frames.py VIDEO FOLDER COUNT."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2


def write_stills(video: str, folder: Path, count: int) -> None:
    """Write `count` frames, evenly spread, without loss, so that every machine reads the same pixels."""
    folder.mkdir(parents=True)
    capture = cv2.VideoCapture(video)
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for number in range(count):
        capture.set(cv2.CAP_PROP_POS_FRAMES, (2 * number + 1) * total // (2 * count))
        _, frame = capture.read()
        cv2.imwrite(str(folder / f"{number}.png"), frame)


if __name__ == "__main__":
    write_stills(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
