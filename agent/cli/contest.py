"""The processes that a benchmark measures: a real worker with its pipeline, and one for the modes without.

This process stays what a control process is: it loads no runtime.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TypeVar

import msgspec
from typing_extensions import Self

from agent import errors
from agent.errors import ModelError, VigilError
from agent.host.clock import monotonic_ns
from agent.host.memfd import memfd_of
from agent.host.processes import cpu_s, pss_mb, rss_mb
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.manifest import SealedFile, Variant
from agent.schema.values import BackendName, FamilyName, Precision, TaskName
from agent.supervisor import WorkerProcess
from agent.supervisor.worker_process import Unasked
from agent.vision.benchmark import Answer, Fault, Lap, LapRequest, Loaded, ModelFile

_MEMORY_MB = 8192
_LOAD_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 20.0
_SETTLE_S = 0.3
_CAMERA = "bench"
A = TypeVar("A", bound=msgspec.Struct)


class Reference:
    """A process that runs the modes without a pipeline; see `agent.vision.benchmark`."""

    def __init__(self, file: ModelFile) -> None:
        command = [
            sys.executable,
            "-m",
            "agent.vision.benchmark",
            msgspec.json.encode(file).decode(),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.loaded = self._next(Loaded)
        except VigilError:
            self._process.communicate()
            raise

    def lap(self, mode: str, seconds: float) -> Lap:
        """Run one lap of `raw` or `serial`.

        Raises:
            VigilError: What the process reported.
        """
        request = msgspec.json.encode(LapRequest(mode, seconds)).decode()
        # When the process has died, the missing answer says so.
        with contextlib.suppress(BrokenPipeError):
            print(request, file=self._process.stdin, flush=True)
        return self._next(Lap)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _next(self, kind: type[A]) -> A:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            status = self._process.wait()
            raise ModelError(f"the runtime ended its process with {status}", code="model.crashed")
        answer: Answer = msgspec.json.decode(line, type=Answer)
        if isinstance(answer, Fault):
            raise _as_error(answer)
        if not isinstance(answer, kind):
            raise ModelError(f"expected {kind.__name__}, found {line[:80]}", code="model.protocol")
        return answer


class Start(msgspec.Struct, frozen=True):
    """Milliseconds from the worker's start to its first result; `load_ms` is the runtime's own, import included."""

    load_ms: float
    first_inference_ms: float
    first_result_ms: float
    over_load_ms: float


class Memory(msgspec.Struct, frozen=True):
    """MiB of both processes: proportional set size, their sum, and resident set size."""

    control_pss_mb: float
    worker_pss_mb: float
    sum_pss_mb: float
    control_rss_mb: float
    worker_rss_mb: float


class PipelineProcess:
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

    def lap(self, seconds: float) -> Lap:
        """Run one lap of the pipeline; opening and closing the cameras is not part of it.

        Raises:
            ModelError: Inference fails, or the worker does.
        """
        self._open()
        time.sleep(_SETTLE_S)
        cpu_started_s, started_ns = self._cpu_s(), monotonic_ns()
        time.sleep(seconds)
        spent_s, ended_ns = self._cpu_s() - cpu_started_s, monotonic_ns()
        self.memory = self._memory()
        self._close()
        frames = [one for one in self._frames if started_ns <= one.finished_ns <= ended_ns]
        failed = next((one.error for one in frames if one.error), "")
        if failed or len(frames) < 2:  # noqa: PLR2004 - a rate needs two instants
            raise ModelError("the pipeline gives no frames", code=failed or "model.failed")
        intervals = len(frames) - 1
        span_s = (frames[-1].finished_ns - frames[0].finished_ns) / 1e9
        return Lap(span_s * len(frames) / intervals, spent_s, [one.stages_ms for one in frames])

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

    def _cpu_s(self) -> float:
        return cpu_s(self._worker.pid) + time.process_time()

    def _memory(self) -> Memory:
        ours, theirs = os.getpid(), self._worker.pid
        control_mb, worker_mb = pss_mb(ours), pss_mb(theirs)
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


def _as_error(fault: Fault) -> VigilError:
    kind = getattr(errors, fault.kind, ModelError)
    error: VigilError = kind(fault.message, code=fault.code, hint=fault.hint)
    return error
