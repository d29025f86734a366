"""The same film and model through Vigil and through ultralytics' predict, in alternating rounds.

    python scripts/comparison/compare.py --peer PYTHON [--model FILE] [--source VIDEO] [--seconds N] [--threads N] [--streams N]

PYTHON is an interpreter with ultralytics and onnxruntime. `scripts/bench` sets both sides up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from agent.app.bench import Memory
from agent.cli.contest import PipelineProcess, Reference
from agent.vision.benchmark import Lap, ModelFile

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parents[1] / "agent" / "demo" / "bundled"
ROUNDS = 5
CONFIDENCE, IOU = 0.25, 0.6


class Figures(NamedTuple):
    """One side: frames per second with decoding, pre + post of a frame, PSS of all its processes."""

    fps: float
    pre_post_ms: float
    infer_ms: float
    memory_mb: float


class Peer:
    """Ultralytics in its own process; see `ultralytics_side.py`."""

    def __init__(self, python: str, file: ModelFile, size: int) -> None:
        settings = {"model": file.path, "source": file.source, "threads": file.threads}
        settings |= {"size": size, "confidence": CONFIDENCE, "iou": IOU}
        self._process = subprocess.Popen(
            [python, str(HERE / "ultralytics_side.py"), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def lap(self, seconds: float) -> dict[str, Any]:
        """Predict on the film for so many seconds."""
        print(json.dumps({"seconds": seconds}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"ultralytics ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Measure and print the comparison."""
    options = parse()
    streams = min(options.streams, options.threads)
    file = ModelFile(options.model, options.source, options.threads, streams=streams)
    ours, theirs = measure(file, options.peer, options.seconds / ROUNDS)
    document = {
        "model": options.model,
        "source": options.source,
        "threads": options.threads,
        "streams": streams,
        "vigil": ours._asdict(),
        "ultralytics": theirs._asdict(),
        "ratios": ratios(ours, theirs),
    }
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    Console().print(table(ours, theirs))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Vigil beside ultralytics.")
    parser.add_argument("--peer", required=True, help="a Python with ultralytics and onnxruntime")
    parser.add_argument("--model", default=str(BUNDLED / "parts-1.onnx"))
    parser.add_argument("--source", default=str(BUNDLED / "conveyor.mp4"))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=2, help="Vigil's frames at the same time")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args()


def measure(file: ModelFile, python: str, lap_s: float) -> tuple[Figures, Figures]:
    """Run both sides in turn; our memory is taken before the other side shares our machine."""
    alone = replace(file, streams=1)
    with Reference(alone) as probe:
        loaded = probe.started
    piped, serial, peer_laps = [], [], []
    with PipelineProcess(file, loaded) as pipeline:
        pipeline.lap(lap_s)
        memory = pipeline.memory
        peer = Peer(python, file, max(loaded.input.width, loaded.input.height))
        with Reference(alone) as reference:
            peer.lap(lap_s)
            for _ in range(ROUNDS):
                piped.append(pipeline.lap(lap_s))
                peer_laps.append(peer.lap(lap_s))
                serial.append(reference.lap("serial", lap_s))
        peer.close()
    return ours_of(piped, serial, memory), theirs_of(peer_laps)


def ours_of(piped: list[Lap], serial: list[Lap], memory: Memory) -> Figures:
    """Sum up Vigil's laps: rate of the pipeline, stages where nothing runs beside them."""
    frames = [stages for lap in serial for stages in lap.stages_ms]
    return Figures(
        statistics.median(lap.fps for lap in piped),
        statistics.median(stages["pre"] + stages["post"] for stages in frames),
        statistics.median(stages["infer"] for stages in frames),
        memory.sum_pss_mb,
    )


def theirs_of(laps: list[dict[str, Any]]) -> Figures:
    """Sum up ultralytics' laps."""
    frames = [stages for lap in laps for stages in lap["stages_ms"]]
    return Figures(
        statistics.median(lap["fps"] for lap in laps),
        statistics.median(stages["preprocess"] + stages["postprocess"] for stages in frames),
        statistics.median(stages["inference"] for stages in frames),
        max(lap["pss_mb"] for lap in laps),
    )


def ratios(ours: Figures, theirs: Figures) -> dict[str, float]:
    """Return Vigil's figures by ultralytics'."""
    pairs = zip(Figures._fields, ours, theirs, strict=True)
    return {name: round(mine / other, 3) for name, mine, other in pairs}


def table(ours: Figures, theirs: Figures) -> Table:
    """Return the comparison for people."""
    names = {
        "fps": "frames per second, decoding included",
        "pre_post_ms": "pre + post, ms per frame",
        "infer_ms": "inference, ms per frame",
        "memory_mb": "memory of all processes (PSS), MiB",
    }
    shown = Table("", "Vigil", "ultralytics", "ratio")
    for name, ratio in ratios(ours, theirs).items():
        mine, other = getattr(ours, name), getattr(theirs, name)
        shown.add_row(names[name], f"{mine:.2f}", f"{other:.2f}", f"{ratio:.3f}")
    return shown


if __name__ == "__main__":
    main()
