"""Ultralytics' own predict, asked line by line; runs in an environment that has ultralytics and no Vigil.

The only argument is a JSON object: `model`, `source` (a video, or null), `threads`, `size` (pixels), `confidence`, `iou`.
Then each line on stdin is a request and each line on stdout its answer, all JSON:

    {"seconds": 2.0}          predict on the video for so long  -> fps, stages_ms of each frame, pss_mb, rss_mb
    {"image": "bus.jpg"}      predict on one picture            -> boxes: label, score, x_min, y_min, x_max, y_max
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ |= {"YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}


def main() -> None:
    """Serve until stdin ends."""
    settings = json.loads(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr  # ultralytics prints
    fix_threads(settings["threads"])
    from ultralytics import YOLO

    model = YOLO(settings["model"], task="detect")
    options = {
        "conf": settings["confidence"],
        "iou": settings["iou"],
        "imgsz": settings["size"],
        "verbose": False,
        "device": "cpu",
    }
    film = endless(model, settings["source"], options) if settings["source"] else None
    for line in sys.stdin:
        request = json.loads(line)
        if film and "seconds" in request:
            answer: object = lap(film, request["seconds"])
        else:
            answer = boxes(next(iter(model.predict(request["image"], **options))))
        print(json.dumps(answer), file=answers, flush=True)


def fix_threads(threads: int) -> None:
    """Give both runtimes so many threads: ultralytics has no setting for them."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession

    def with_threads(path: Any, sess_options: Any = None, **kwargs: Any) -> Any:
        chosen = sess_options or onnxruntime.SessionOptions()
        chosen.intra_op_num_threads = threads
        return session(path, chosen, **kwargs)

    onnxruntime.InferenceSession = with_threads
    torch.set_num_threads(threads)


def endless(model: Any, source: str, options: dict[str, Any]) -> Iterator[Any]:
    """Yield the results of a film over and over."""
    while True:
        yield from model.predict(source, stream=True, **options)


def lap(film: Iterator[Any], seconds: float) -> dict[str, Any]:
    """Predict for so many seconds."""
    stages_ms = []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        stages_ms.append(next(film).speed)
    spent = time.perf_counter() - started
    return {"fps": len(stages_ms) / spent, "stages_ms": stages_ms, **memory()}


def boxes(result: Any) -> list[list[float]]:
    """Return a result's boxes in the picture's pixels."""
    found = result.boxes
    rows = zip(found.cls.tolist(), found.conf.tolist(), found.xyxy.tolist(), strict=True)
    return [[int(label), score, *corners] for label, score, corners in rows]


def memory() -> dict[str, float]:
    """Return the memory of this process, MiB."""
    rollup = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup[1:]}
    return {"pss_mb": sizes["Pss"] / 1024, "rss_mb": sizes["Rss"] / 1024}


if __name__ == "__main__":
    main()
