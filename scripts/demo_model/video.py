"""Write the bundled video and its ground truth: OUT/conveyor.mp4 and OUT/conveyor.json.

video.py OUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import av

from agent.demo.annotations import coco
from agent.demo.scene import Conveyor, Frame

CODING = {"crf": "26", "preset": "veryslow", "profile": "high", "threads": "1"}
"""One thread: the encoder's output then does not depend on the machine's cores."""


def encode(frames: Iterable[Frame], conveyor: Conveyor, path: Path) -> None:
    """Encode the frames as H.264 in mp4, index at the front."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=conveyor.fps, options=CODING)
        stream.width, stream.height, stream.pix_fmt = conveyor.width, conveyor.height, "yuv420p"
        stream.codec_context.gop_size = 2 * conveyor.fps
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, "bgr24")))
        container.mux(stream.encode())


def main(out: Path) -> None:
    """Draw one whole turn of the belt and write both files."""
    conveyor = Conveyor()
    frames = [conveyor.frame(index) for index in range(conveyor.frames)]
    encode(frames, conveyor, out / "conveyor.mp4")
    note = "One turn of the demo conveyor; image id = frame index of conveyor.mp4, drawn by agent.demo.scene"
    text = json.dumps(coco(frames, note), separators=(",", ":"))
    (out / "conveyor.json").write_text(text.replace('},{"id"', '},\n{"id"') + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
