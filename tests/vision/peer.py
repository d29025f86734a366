"""The control process's side of a worker, for tests: a real process on a real socket pair."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

from agent.host.memfd import memfd_of
from agent.host.seqpacket import Wire, wire_pair
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.document import parse_msgpack
from agent.schema.manifest import InputSpec, SealedFile, Variant
from agent.schema.recording import EventConfig
from agent.schema.values import BackendName, FamilyName, Precision
from tests.vision import models

T = TypeVar("T", bound=ipc.Message)
ROOT = Path(__file__).resolve().parents[2]
NVIDIA = f"{ROOT}:{ROOT / 'tests' / 'vision' / 'nvidia'}"  # a PYTHONPATH with the doubled TensorRT


class Peer:
    """The control process's side of one worker."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        mine, theirs = wire_pair()
        self.wire: Wire = mine
        command = [sys.executable, "-m", "agent.vision", "--socket-fd", str(theirs.fileno())]
        self.process = subprocess.Popen(
            [*command, *arguments],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )
        theirs.close()
        self.number = 0
        self.passed: list[ipc.Message] = []  # over, by `next`

    def next(self, kind: type[T], timeout_s: float = 60.0) -> T:
        """The next message of a kind; others are passed over. A `Failed` nobody waits for is an error."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            received = self.wire.receive(0.2)
            if received is None:
                continue
            message, self.fd = parse_msgpack(received[0], ipc.Answer), received[1]
            if isinstance(message, kind):
                return message
            assert not isinstance(message, ipc.Failed), message
            self.passed.append(message)
        raise AssertionError(f"no {kind.__name__} in {timeout_s} s")

    def ask(self, kind: type[T], request: type, fd: int | None = None, **fields: Any) -> T:
        self.number += 1
        self.wire.send(request(id=self.number, **fields), fd)
        answer = self.next(kind)
        assert answer.id == self.number  # type: ignore[attr-defined]
        return answer

    def load(
        self,
        model: bytes,
        kind: type[T] = ipc.ModelLoaded,  # type: ignore[assignment]
        *,
        is_engine: bool = False,
        providers: list[str] | None = None,
        delegates: list[str] | None = None,
        threads: int = 1,
        streams: int = 1,
        **changes: Any,
    ) -> T:
        fd = memfd_of(model, "model") if model else os.memfd_create("empty")
        try:
            return self.ask(
                kind,
                ipc.LoadModel,
                fd,
                release="colours 1",
                variant=variant(**changes),
                labels=models.LABELS,
                threads=threads,
                streams=streams,
                confidence=0.25,
                iou=0.6,
                is_engine=is_engine,
                providers=providers or [],
                delegates=delegates or [],
            )
        finally:
            os.close(fd)

    def open_cameras(self, *cameras: CameraConfig, events: EventConfig | None = None) -> ipc.Done:
        return self.ask(
            ipc.Done,
            ipc.OpenCameras,
            device="d1",
            boot="0123456789ab",
            cameras=list(cameras),
            epoch_ns=time.monotonic_ns(),
            default_fps=20.0,
            events=events or EventConfig(),
        )

    def whole_film(self, camera: CameraConfig, frames: int) -> list[ipc.FrameResult]:
        """The results of a recording, of which the first may come before the answer that its camera is open."""
        self.passed.clear()
        self.open_cameras(camera)
        seen = [one for one in self.passed if isinstance(one, ipc.FrameResult)]
        while len(seen) < frames:
            seen.append(self.next(ipc.FrameResult))
        return seen

    def golden(self, golden: bytes, kind: type[T]) -> T:
        fd = memfd_of(golden, "golden")
        try:
            rule: dict[str, Any] = {"min_match": 0.9, "match_iou": 0.7, "score_tolerance": 0.15}
            return self.ask(kind, ipc.RunGolden, fd, variant="onnx", **rule)
        finally:
            os.close(fd)


def variant(**changes: Any) -> Variant:
    fields: dict[str, Any] = {
        "id": "onnx",
        "backend": BackendName.ONNXRUNTIME,
        "precision": Precision.FP32,
        "family": FamilyName.ULTRALYTICS,
        "input": InputSpec(width=models.SIZE, height=models.SIZE),
        "payload": SealedFile(file="onnx.sealed", size=1, sha256="0" * 64),
        "accuracy": 0.5,
        "memory_mb": 100,
    }
    return Variant(**(fields | changes))
