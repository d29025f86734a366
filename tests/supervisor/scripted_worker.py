"""A worker that plays a part: the release's name says which. Speaks `agent.schema.ipc` and runs no model.

Frames are numbered by the clock, as those of a file are, so that two workers at work report the same ones.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time

from agent.host.clock import monotonic_ns, wall_ms
from agent.host.seqpacket import Wire, WireClosedError
from agent.schema import ipc
from agent.schema.camera_report import CameraReport
from agent.schema.document import parse_msgpack

FRAME_NS = 20_000_000
HEARTBEAT_S = 0.1


class Player:
    """One worker, from `Ready` to its end."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._part = ""
        self._open = threading.Event()
        self._gate = "paused"

    def play(self) -> None:
        """Answer requests until told to stop."""
        self._wire.send(ipc.Ready(pid=os.getpid()))
        threading.Thread(target=self._beat, daemon=True).start()
        while (received := self._wire.receive(1.0)) is not None or True:
            if received is not None and not self._answer(parse_msgpack(received[0], ipc.Request)):
                return

    def _answer(self, request: ipc.Request) -> bool:
        match request:
            case ipc.LoadModel():
                self._part = request.release.split("/")[1]
                self._load(request)
            case ipc.RunGolden():
                problem = "recall 0.1 below 0.9" if self._part == "wrong" else ""
                self._wire.send(
                    ipc.GoldenFinished(
                        id=request.id, frames=1, recall=1, precision=1, p95_ms=1, problem=problem
                    )
                )
            case ipc.OpenCameras():
                self._open_cameras(request)
            case ipc.AllowGates():
                self._gate = "open" if request.allowed else "paused"
                self._wire.send(ipc.Done(id=request.id))
            case ipc.CloseCameras():
                self._open.clear()
                self._wire.send(ipc.Done(id=request.id))
            case ipc.Shutdown():
                self._wire.send(ipc.Done(id=request.id))
                return False
            case _:
                pass
        return True

    def _load(self, request: ipc.LoadModel) -> None:
        if self._part == "crashes":
            sys.exit(3)
        if self._part == "hangs":
            time.sleep(60)
        self._wire.send(ipc.ModelLoaded(id=request.id, load_ms=1, first_inference_ms=1))

    def _open_cameras(self, request: ipc.OpenCameras) -> None:
        self._wire.send(ipc.Done(id=request.id))
        if self._part == "dies":
            sys.exit(4)
        self._open.set()
        threading.Thread(target=self._film, args=(request.epoch_ns,), daemon=True).start()

    def _film(self, epoch_ns: int) -> None:
        number = 0
        while self._open.is_set() and self._part != "mute":
            number = max(number + 1, (monotonic_ns() - epoch_ns) // FRAME_NS)
            time.sleep(max(0, epoch_ns + number * FRAME_NS - monotonic_ns()) / 1e9)
            self._wire.send(frame(number))
            if self._part == "silent":
                time.sleep(60)
            if self._part == "nonsense":
                self._wire.sock.send(b"\xff nonsense")

    def _beat(self) -> None:
        while self._part != "silent":
            self._wire.send(ipc.Heartbeat(at_ns=monotonic_ns(), cameras=[camera(self._gate)]))
            time.sleep(HEARTBEAT_S)


def camera(gate: str) -> CameraReport:
    """The camera's health."""
    return CameraReport(
        name="belt", status="streaming", fps=50.0, captured=1, processed=1, dropped=0, gate=gate
    )


def frame(number: int) -> ipc.FrameResult:
    """An empty picture."""
    now_ns = monotonic_ns()
    return ipc.FrameResult(
        camera="belt",
        frame=number,
        captured_ms=wall_ms(),
        captured_ns=now_ns,
        finished_ns=now_ns,
        width=4,
        height=4,
        boxes=[],
        stages_ms={"infer": 1.0},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket-fd", type=int)
    parser.add_argument("--memory-mb", type=int)
    try:
        Player(Wire(socket.socket(fileno=parser.parse_args().socket_fd))).play()
    except WireClosedError:
        os._exit(1)
