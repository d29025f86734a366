"""Write some frames of a video as pictures, as they are and as the model takes them.

python scripts/arm64/frames.py VIDEO FOLDER COUNT      FOLDER/whole and FOLDER/scaled
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2


def write_stills(video: str, folder: Path, count: int) -> None:
    """Write `count` frames, evenly spread, without loss, so that every machine reads the same pixels.

    Those below `scaled` are 320x320 with grey bars: no machine has to scale them, which OpenCV does differently on ARM.
    """
    for name in ("whole", "scaled"):
        (folder / name).mkdir(parents=True)
    capture = cv2.VideoCapture(video)
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for number in range(count):
        capture.set(cv2.CAP_PROP_POS_FRAMES, (2 * number + 1) * total // (2 * count))
        _, frame = capture.read()
        cv2.imwrite(str(folder / "whole" / f"{number}.png"), frame)
        small = cv2.resize(frame, (320, 180))
        barred = cv2.copyMakeBorder(small, 70, 70, 0, 0, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        cv2.imwrite(str(folder / "scaled" / f"{number}.png"), barred)


if __name__ == "__main__":
    write_stills(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
