"""`python -m agent.app.bench MODEL LOADED`: the control process of a benchmark, with a real worker, lap by lap.

It loads what an agent loads and nothing else, so that it is as large as one. `MODEL` is a `ModelFile`, `LOADED` the
model as it was recognised. It prints a `Start` once the first result has come, then a `PipelineLap` for each
`LapRequest` on its stdin, each one line of JSON; an expected fault ends it with a `Fault` instead.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import agent.app.service
import agent.schema.yaml_tree  # noqa: F401 - with the line above all that an agent loads
from agent.errors import ModelError, VigilError
from agent.host.clock import monotonic_ns
from agent.host.heap import keep_little
from agent.host.memfd import memfd_of
from agent.host.pages import held_mb
from agent.host.processes import cpu_s, rss_mb
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.manifest import SealedFile, Variant
from agent.schema.values import BackendName, FamilyName, Precision, TaskName
from agent.supervisor import WorkerProcess
from agent.vision.benchmark import Fault, Lap, LapRequest, Loaded, ModelFile, speak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from agent.supervisor.worker_process import Unasked

_MEMORY_MB = 8192
_LOAD_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 20.0
_SETTLE_S = 0.3
_LOOK_S = 0.02
_LEAST_FRAMES = 2  # a rate needs two instants
_CAMERA = "bench"


class Start(msgspec.Struct, frozen=True, tag=True):
    """Milliseconds from the worker's start to its first result; `load_ms` is the runtime's own, import included."""

    load_ms: float
    first_inference_ms: float
    first_result_ms: float
    over_load_ms: float


class Memory(msgspec.Struct, frozen=True):
    """MiB of both processes, as if nothing else ran (see `agent.host.pages`), their sum, and resident set sizes."""

    control_pss_mb: float
    worker_pss_mb: float
    sum_pss_mb: float
    control_rss_mb: float
    worker_rss_mb: float


class PipelineLap(msgspec.Struct, frozen=True, tag=True):
    """A lap of the pipeline, and what both processes held at its end."""

    lap: Lap
    memory: Memory


class PipelineBench:
    """A real worker with its pipeline on a recording that waits for the model, not the model for it."""

    def __init__(self, file: ModelFile, loaded: Loaded) -> None:
        self._file = file
        self._frames: list[ipc.FrameResult] = []
        self._first = threading.Event()
        started_ns = monotonic_ns()
        self._worker = WorkerProcess(_MEMORY_MB, self._hear, lambda _: self._first.set())
        try:
            answer = self._load(loaded)
            self._open()
        except VigilError:
            self._worker.stop()
            raise
        first_ms = (monotonic_ns() - started_ns) / 1e6
        load_ms = answer.load_ms
        self.start = Start(
            load_ms=round(load_ms, 1),
            first_inference_ms=round(answer.first_inference_ms, 1),
            first_result_ms=round(first_ms, 1),
            over_load_ms=round(first_ms - load_ms, 1),
        )
        self._close()

    def run(self, request: LapRequest) -> PipelineLap:
        """Run one lap of the pipeline, until its time is over and two frames have come.

        Opening and closing the cameras is not part of it.

        Raises:
            ModelError: Inference fails, or the worker does.
        """
        self._open()
        time.sleep(_SETTLE_S)
        cpu_started_s, started_ns = self._cpu_s(), monotonic_ns()
        time.sleep(request.seconds)
        give_up_s = time.monotonic() + _ANSWER_TIMEOUT_S
        while len(self._since(started_ns)) < _LEAST_FRAMES and time.monotonic() < give_up_s:
            time.sleep(_LOOK_S)
        spent_s, ended_ns = self._cpu_s() - cpu_started_s, monotonic_ns()
        memory = self._memory()
        self._close()
        frames = [one for one in self._since(started_ns) if one.finished_ns <= ended_ns]
        failed = next((one.error for one in frames if one.error), "")
        if failed or len(frames) < _LEAST_FRAMES:
            raise ModelError("the pipeline gives no frames", code=failed or "model.failed")
        intervals = len(frames) - 1
        span_s = (frames[-1].finished_ns - frames[0].finished_ns) / 1e9
        lap = Lap(span_s * len(frames) / intervals, spent_s, [one.stages_ms for one in frames])
        return PipelineLap(lap, memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()

    def _load(self, loaded: Loaded) -> ipc.ModelLoaded:
        model = Path(self._file.path).read_bytes()
        request = ipc.LoadModel(
            id=self._worker.next_id(),
            release="bench",
            variant=_variant(loaded, model),
            labels=loaded.labels,
            threads=self._file.threads,
            streams=self._file.streams,
            providers=self._file.providers,
            confidence=0.25,
            iou=0.6,
        )
        fd = memfd_of(model, "model")
        try:
            answer, _ = self._worker.ask(request, ipc.ModelLoaded, _LOAD_TIMEOUT_S, fd)
        finally:
            os.close(fd)
        return answer

    def _open(self) -> None:
        """Start the pipeline and wait for its first result."""
        self._frames.clear()
        self._first.clear()
        request = ipc.OpenCameras(
            id=self._worker.next_id(),
            device="bench",
            boot="bench",
            cameras=[CameraConfig(name=_CAMERA, source=self._file.source, paced=False)],
            epoch_ns=monotonic_ns(),
            default_fps=25.0,
        )
        self._worker.ask(request, ipc.Done, _ANSWER_TIMEOUT_S)
        if not self._first.wait(_ANSWER_TIMEOUT_S) or not self._frames:
            raise ModelError("the worker gives no result", code="model.timeout")

    def _close(self) -> None:
        self._worker.ask(ipc.CloseCameras(id=self._worker.next_id()), ipc.Done, _ANSWER_TIMEOUT_S)

    def _hear(self, worker: WorkerProcess, message: Unasked) -> None:
        del worker
        if isinstance(message, ipc.FrameResult):
            self._frames.append(message)
            self._first.set()

    def _since(self, started_ns: int) -> list[ipc.FrameResult]:
        return [one for one in self._frames if one.finished_ns >= started_ns]

    def _cpu_s(self) -> float:
        return cpu_s(self._worker.pid) + time.process_time()

    def _memory(self) -> Memory:
        ours, theirs = os.getpid(), self._worker.pid
        control_mb, worker_mb = held_mb([ours, theirs])
        figures = (control_mb, worker_mb, control_mb + worker_mb, rss_mb(ours), rss_mb(theirs))
        return Memory(*(round(value, 1) for value in figures))


def _variant(loaded: Loaded, model: bytes) -> Variant:
    payload = SealedFile(file="model", size=len(model), sha256=hashlib.sha256(model).hexdigest())
    return Variant(
        id="bench",
        backend=BackendName(loaded.backend),
        precision=Precision.FP32,
        family=FamilyName(loaded.family),
        input=loaded.input,
        box_units=loaded.box_units,
        task=TaskName(loaded.task),
        keypoints=loaded.keypoints,
        payload=payload,
        accuracy=0.0,
        memory_mb=1,
    )


def _serve(file: ModelFile, loaded: Loaded) -> Iterator[Start | PipelineLap | Fault]:
    try:
        with PipelineBench(file, loaded) as bench:
            yield bench.start
            for line in sys.stdin:
                yield bench.run(msgspec.json.decode(line, type=LapRequest))
    except VigilError as error:
        yield Fault.of(error)


def main() -> None:
    """Serve until stdin ends."""
    file, loaded = sys.argv[1:]
    keep_little()
    speak(
        _serve(msgspec.json.decode(file, type=ModelFile), msgspec.json.decode(loaded, type=Loaded))
    )


if __name__ == "__main__":
    main()
