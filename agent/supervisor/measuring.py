"""How fast a variant is on this device: a worker of its own, loaded and run again and again.

Nothing but the inference is timed, on a grey picture: what a convolutional network costs does not hang on
what it sees. Each round is a golden set that expects nothing, so the worker needs no request of its own
for it. The budget ends the rounds; heat makes them wait.
"""

from __future__ import annotations

import os
import statistics
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.errors import ModelError
from agent.host.memfd import memfd_of
from agent.schema import ipc
from agent.schema.manifest import GoldenFrame, GoldenSet, Variant
from agent.schema.profile import RuntimeDefaults
from agent.supervisor.worker_process import WorkerProcess

_PICTURE = (640, 360)
_FRAMES_PER_ROUND = 20
_LEAST_FRAMES = 3
_LOAD_TIMEOUT_S = 120.0
_ROUND_TIMEOUT_S = 120.0
_COOLING_POLL_S = 0.5


@dataclass(frozen=True)
class Bench:
    """What a measurement may use: the profile's runtime, MiB of address space, seconds, degrees."""

    threads: int
    runtime: RuntimeDefaults
    memory_mb: int
    seconds: float
    max_temperature_c: float
    temperature_c: Callable[[], float | None]


@dataclass(frozen=True)
class Timed:
    """The median of the rounds' p95, milliseconds, over `frames` inferences; and how warm it got."""

    p95_ms: float
    frames: int
    temperature_c: float | None


def time_variant(variant: Variant, labels: list[str], model: Path, bench: Bench) -> Timed:
    """Measure one variant in a worker of its own.

    Args:
        variant: What the manifest says of it.
        labels: Class names by class id.
        model: Its plaintext file.
        bench: What may be used.

    Raises:
        ModelError: It cannot be loaded or fails; or the board was too hot all the time
            (`model.too_hot`).
    """
    worker = WorkerProcess(bench.memory_mb, _ignore, _ignore)
    try:
        first_ms = _load(worker, variant, labels, model, bench)
        return _rounds(worker, variant, first_ms, bench)
    finally:
        worker.stop()


def _load(
    worker: WorkerProcess, variant: Variant, labels: list[str], model: Path, bench: Bench
) -> float:
    request = ipc.LoadModel(
        id=worker.next_id(),
        release="measurement",
        variant=variant,
        labels=labels,
        threads=bench.threads,
        streams=bench.runtime.streams,
        confidence=0.25,
        iou=0.6,
        providers=bench.runtime.providers,
        delegates=bench.runtime.delegates,
    )
    try:
        fd = os.open(model, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"{model}: cannot be read: {error.strerror}") from error
    try:
        loaded, _ = worker.ask(request, ipc.ModelLoaded, _LOAD_TIMEOUT_S, fd)
    finally:
        os.close(fd)
    return loaded.first_inference_ms


def _rounds(worker: WorkerProcess, variant: Variant, first_ms: float, bench: Bench) -> Timed:
    deadline = time.monotonic() + bench.seconds
    affordable = int(bench.seconds * 1000 / max(first_ms, 0.001))
    frames = max(_LEAST_FRAMES, min(_FRAMES_PER_ROUND, affordable))
    hottest, figures_ms = bench.temperature_c(), list[float]()
    while not figures_ms or time.monotonic() < deadline:
        now_c = bench.temperature_c()
        hottest = max((each for each in (hottest, now_c) if each is not None), default=None)
        if now_c is not None and now_c > bench.max_temperature_c:
            _cool_down(now_c, deadline, bench)
            continue
        figures_ms.append(_run(worker, variant, frames))
    return Timed(statistics.median(figures_ms), frames * len(figures_ms), hottest)


def _cool_down(now_c: float, deadline: float, bench: Bench) -> None:
    if time.monotonic() >= deadline:
        message = f"{now_c:.0f} degrees are over the {bench.max_temperature_c:.0f} allowed"
        raise ModelError(
            message, code="model.too_hot", hint="let the board cool, or allow more seconds"
        )
    time.sleep(_COOLING_POLL_S)


def _run(worker: WorkerProcess, variant: Variant, frames: int) -> float:
    request = ipc.RunGolden(
        id=worker.next_id(), variant=variant.id, min_match=0.0, match_iou=0.5, score_tolerance=1.0
    )
    frame = GoldenFrame(_grey_png(*_PICTURE), {variant.id: []})
    golden = msgspec.msgpack.encode(GoldenSet([frame] * frames, confidence=0.25, iou=0.6))
    fd = memfd_of(golden, "measurement")
    try:
        result, _ = worker.ask(request, ipc.GoldenFinished, _ROUND_TIMEOUT_S, fd)
    finally:
        os.close(fd)
    return result.p95_ms


def _grey_png(width: int, height: int) -> bytes:
    """Return a uniformly grey picture (W3C, Portable Network Graphics, section 11)."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"\x80" * width) * height
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _ignore(*_: object) -> None:
    """Take what an idle worker says, which is only that it lives."""
