"""Several frames at the same time: all of them, in order, and no stream that hangs goes unnoticed."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.host.memfd import memfd_of
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.vision.backends import Multistream
from agent.vision.detector import Detector, load_detector
from agent.vision.pipeline import Pipeline, Scene
from tests.parts.processes import until
from tests.vision import models
from tests.vision.nvidia import engine_file
from tests.vision.peer import NVIDIA, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.vision.desk import CameraDesk, Processed

FRAMES = 40
KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "onnx": ("onnxruntime", models.onnx_model),
    "tflite": ("litert", lambda: models.tflite_model(quantised=True)),
}


@pytest.fixture
def film(tmp_path: Path) -> CameraConfig:
    path = tmp_path / "film.avi"
    models.colour_film(path, FRAMES)
    return CameraConfig(name="film", source=str(path), loop=False, paced=False)


@contextlib.contextmanager
def loaded(kind: str, streams: int) -> Iterator[list[Detector]]:
    """Detectors of one model whose file is gone by then."""
    backend, build = KINDS[kind]
    fd = memfd_of(build(), "model")
    try:
        detector = load_detector(fd, backend=backend, family="ultralytics", labels=models.LABELS)
        detectors = detector.split(streams)
    finally:
        os.close(fd)
    yield detectors


@pytest.mark.parametrize("kind", KINDS)
def test_each_stream_sees_its_own_frame_whatever_the_others_do(kind: str) -> None:
    with loaded(kind, 3) as detectors:
        found: dict[int, set[int]] = {label: set() for label in range(3)}

        def look(label: int) -> None:
            for _ in range(200):
                found[label].update(detectors[label].detect(models.colour_frame(label)).labels)

        threads = [threading.Thread(target=look, args=(label,)) for label in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == {0: {0}, 1: {1}, 2: {2}}


@pytest.mark.parametrize("kind", KINDS)
def test_one_stream_is_the_detector_itself(kind: str) -> None:
    with loaded(kind, 1) as detectors:
        assert len(detectors) == 1


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_a_recording_loses_no_frame_and_keeps_their_order(film: CameraConfig, streams: int) -> None:
    peer = Peer()
    peer.load(models.onnx_model(), threads=4, streams=streams)
    seen = peer.whole_film(film, FRAMES)
    peer.ask(ipc.Done, ipc.CloseCameras)
    peer.ask(ipc.Done, ipc.Shutdown)
    assert peer.process.wait(30) == 0
    assert [one.frame for one in seen] == list(range(FRAMES))
    assert [one.boxes[0].label for one in seen if one.boxes] == [
        one.frame % 3 for one in seen if one.boxes
    ]
    assert sum(bool(one.boxes) for one in seen) > FRAMES // 2


def test_a_runtime_that_runs_one_frame_at_a_time_says_so() -> None:
    peer = Peer(PYTHONPATH=NVIDIA)
    engine = engine_file.pack(models.onnx_model())
    answer: ipc.ModelLoaded = peer.load(
        engine, is_engine=True, backend="tensorrt", threads=2, streams=2
    )
    peer.ask(ipc.Done, ipc.Shutdown)
    assert answer.notes == ["tensorrt runs one frame at a time, not 2"]


class _Held:
    """A driver that hangs until it is let go."""

    def __init__(self, backend: Any, free: threading.Event) -> None:
        self._backend, self._free = backend, free

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def infer(self) -> Any:
        assert self._free.wait(60)
        return self._backend.infer()


class _Listener:
    """What a publisher is handed."""

    def __init__(self) -> None:
        self.frames: list[int] = []

    def hand(self, desk: CameraDesk, done: Processed, *, patient: bool) -> None:
        assert patient
        assert desk.name == done.camera
        self.frames.append(done.frame.index)


def test_a_stream_that_hangs_is_noticed_and_nothing_overtakes_its_frame(film: CameraConfig) -> None:
    listener: Any = _Listener()
    free = threading.Event()
    with loaded("onnx", 2) as (one, other):
        assert isinstance(one.backend, Multistream)
        held: Any = _Held(other.backend, free)
        scene = Scene("d1", "boot", "release", [film], 0, 10.0)
        pipeline = Pipeline([one, replace(other, backend=held)], scene, listener, _spawn)
        try:
            assert pipeline.is_fresh()
            until(lambda: not pipeline.is_fresh(), 30, "the stream that hangs is noticed")
            passed = len(listener.frames)
            assert passed < FRAMES
            free.set()
            until(lambda: len(listener.frames) == FRAMES, 60, "every frame goes on")
            assert listener.frames == list(range(FRAMES))
        finally:
            free.set()
            pipeline.close()


def _spawn(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
