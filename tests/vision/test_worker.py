"""The worker as its supervisor sees it: a real process on a real socket pair."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from agent.host.memfd import memfd_of
from agent.host.seqpacket import WireClosedError
from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.document import parse_msgpack
from agent.schema.manifest import GoldenSet, InputSpec
from agent.schema.values import BackendName
from tests.parts.streams import wait_for
from tests.vision import models
from tests.vision.nvidia import engine_file
from tests.vision.peer import NVIDIA, Peer, variant


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(30)
        made.wire.close()


PATTERN = CameraConfig(name="door", source="pattern:320x180")


def test_a_worker_lives_its_whole_life_in_one_process(peer: Peer) -> None:
    ready = peer.next(ipc.Ready)
    assert ready.pid == peer.process.pid
    loaded: ipc.ModelLoaded = peer.load(models.onnx_model())
    assert loaded.load_ms > 0
    finished = peer.golden(models.golden_set(label=0), ipc.GoldenFinished)
    assert (finished.frames, finished.recall, finished.precision) == (1, 1.0, 1.0)
    assert finished.problem == ""
    peer.open_cameras(PATTERN, CameraConfig(name="yard", source="pattern:64x64"))
    results = [peer.next(ipc.FrameResult) for _ in range(20)]
    assert {result.camera for result in results} == {"door", "yard"}
    stages = {"capture", "queue", "pre", "infer", "post", "publish"}
    assert all(set(result.stages_ms) == stages and not result.error for result in results)
    beat = peer.next(ipc.Heartbeat)
    assert {(camera.name, camera.status) for camera in beat.cameras} == {
        ("door", "streaming"),
        ("yard", "streaming"),
    }
    peer.ask(ipc.Done, ipc.CloseCameras)
    peer.ask(ipc.Done, ipc.Shutdown)
    assert peer.process.wait(30) == 0


def test_results_number_frames_as_the_source_does_and_in_order(peer: Peer) -> None:
    peer.load(models.onnx_model())
    peer.open_cameras(PATTERN)
    results = [peer.next(ipc.FrameResult) for _ in range(10)]
    frames = [result.frame for result in results]
    assert frames == sorted(set(frames))
    assert all(result.captured_ns <= result.finished_ns for result in results)
    assert (results[0].width, results[0].height) == (320, 180)


def test_an_object_that_stays_and_goes_is_an_event_from_new_to_end(
    peer: Peer, tmp_path: Path
) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), models.colour_frame(2))
    peer.load(models.onnx_model())
    peer.open_cameras(CameraConfig(name="door", source=str(tmp_path), fps=20.0))
    new = peer.next(ipc.ObjectEvent).event
    assert (new.type, new.label, new.release) == ("new", "blue", "colours 1")
    peer.number += 1
    peer.wire.send(ipc.CloseCameras(id=peer.number))
    end = peer.next(ipc.ObjectEvent).event
    assert (end.type, end.id) == ("end", new.id)
    assert peer.next(ipc.Done).id == peer.number


def test_a_golden_set_that_does_not_match_names_the_problem(peer: Peer) -> None:
    peer.load(models.onnx_model())
    finished = peer.golden(models.golden_set(label=1), ipc.GoldenFinished)
    assert (finished.recall, finished.precision) == (0.0, 0.0)
    assert "recall 0.000" in finished.problem


def test_a_golden_set_that_cannot_be_read_is_an_answer(peer: Peer) -> None:
    peer.load(models.onnx_model())
    for golden in (b"rubbish", msgspec.msgpack.encode(GoldenSet([], 0.25, 0.6))):
        failed = peer.golden(golden, ipc.Failed)
        assert (failed.kind, failed.code) == ("ModelError", "model.golden")


def test_the_newest_picture_is_handed_out_as_jpeg(peer: Peer) -> None:
    peer.load(models.onnx_model())
    peer.open_cameras(PATTERN)
    peer.next(ipc.FrameResult)
    grabbed = peer.ask(ipc.FrameGrabbed, ipc.GrabFrame, camera="door", max_width=160, quality=80)
    assert peer.fd is not None
    data = os.pread(peer.fd, 1 << 20, 0)
    os.close(peer.fd)
    image = models.read_picture(data)
    assert image.shape == (90, 160, 3)
    assert (grabbed.width, grabbed.height) == (160, 90)


def test_a_picture_of_no_such_camera_is_refused(peer: Peer) -> None:
    failed = peer.ask(ipc.Failed, ipc.GrabFrame, camera="attic", max_width=160, quality=80)
    assert (failed.kind, failed.code) == ("CameraError", "camera.no_picture")


def test_requests_out_of_order_are_refused_and_the_worker_goes_on(peer: Peer) -> None:
    fields: dict[str, Any] = {
        "device": "d",
        "boot": "b",
        "cameras": [],
        "epoch_ns": 0,
        "default_fps": 1.0,
    }
    assert peer.ask(ipc.Failed, ipc.OpenCameras, **fields).code == "model.missing"
    peer.load(models.onnx_model())
    peer.open_cameras(PATTERN)
    assert peer.load(models.onnx_model(), ipc.Failed).kind == "CommandError"
    assert peer.golden(models.golden_set(0), ipc.Failed).kind == "CommandError"
    assert peer.ask(ipc.Failed, ipc.OpenCameras, **fields).kind == "CommandError"
    assert peer.next(ipc.FrameResult).camera == "door"


def test_a_request_that_is_no_request_is_answered(peer: Peer) -> None:
    peer.wire.send(ipc.Done(id=5))
    failed = peer.next(ipc.Failed)
    assert (failed.id, failed.code) == (0, "ipc.malformed")
    peer.load(models.onnx_model())


def test_a_camera_that_is_not_there_fails_alone(peer: Peer) -> None:
    peer.load(models.onnx_model())
    peer.open_cameras(PATTERN, CameraConfig(name="gone", source="/nowhere/film.mp4"))

    def status() -> dict[str, str]:
        return {camera.name: camera.status for camera in peer.next(ipc.Heartbeat).cameras}

    wait_for(lambda: status() == {"door": "streaming", "gone": "failed"})


def test_an_inference_that_fails_is_told_with_its_frame_and_the_next_goes_on(peer: Peer) -> None:
    peer.load(models.onnx_model(explosive=True))
    peer.open_cameras(PATTERN)
    results = [peer.next(ipc.FrameResult) for _ in range(3)]
    assert [result.error for result in results] == ["model.not_finite"] * 3
    assert results[0].frame < results[1].frame < results[2].frame
    assert peer.next(ipc.Heartbeat).cameras[0].status == "streaming"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "wrong magic", "empty"])
@pytest.mark.parametrize("runtime", [BackendName.ONNXRUNTIME, BackendName.LITERT])
def test_a_damaged_model_never_hangs_the_peer(
    peer: Peer, damage: str, runtime: BackendName
) -> None:
    tflite = runtime is BackendName.LITERT
    model = models.tflite_model() if tflite else models.onnx_model()
    layout = "nhwc" if tflite else "nchw"
    spec = InputSpec(width=models.SIZE, height=models.SIZE, layout=layout)
    peer.next(ipc.Ready)
    try:
        failed = peer.load(damaged(model, damage), ipc.Failed, backend=runtime, input=spec)
    except WireClosedError:
        assert peer.process.wait(30) != 0
    else:
        assert failed.kind == "ModelError"
        assert failed.code in {"model.unreadable", "model.shape"}


def damaged(model: bytes, damage: str) -> bytes:
    rng = np.random.default_rng(3)
    flipped = np.frombuffer(model, np.uint8).copy()
    flipped[rng.integers(0, len(flipped), 200)] ^= 0xFF
    kinds: dict[str, bytes] = {
        "truncated": model[: len(model) // 2],
        "flipped": flipped.tobytes(),
        "wrong magic": b"\x7fELF\x02\x01\x01\x00" + model[8:],
        "empty": b"",
    }
    return kinds[damage]


def test_a_worker_that_is_killed_closes_its_end(peer: Peer) -> None:
    peer.load(models.onnx_model())
    peer.open_cameras(PATTERN)
    peer.next(ipc.FrameResult)
    peer.process.send_signal(signal.SIGKILL)
    peer.process.wait(30)
    with pytest.raises(WireClosedError):
        peer.next(ipc.Failed)


def test_a_worker_left_alone_ends_by_itself(peer: Peer) -> None:
    peer.load(models.onnx_model())
    peer.open_cameras(PATTERN)
    peer.next(ipc.FrameResult)
    peer.wire.close()
    assert peer.process.wait(30) == 0


def test_an_inference_that_hangs_stops_the_heartbeat() -> None:
    """The runtime is TensorRT's double, which never comes back from its fourth frame."""
    peer = Peer(PYTHONPATH=NVIDIA, TENSORRT_DOUBLE="hang-frames")
    try:
        engine = engine_file.pack(models.onnx_model())
        peer.load(engine, is_engine=True, backend=BackendName.TENSORRT)
        peer.open_cameras(PATTERN)
        assert peer.next(ipc.Heartbeat).cameras
        last_s = time.monotonic()

        def is_silent() -> bool:
            nonlocal last_s
            received = peer.wire.receive(0.2)
            if received and isinstance(parse_msgpack(received[0], ipc.Answer), ipc.Heartbeat):
                last_s = time.monotonic()
            return time.monotonic() - last_s >= 4

        wait_for(is_silent)
        assert peer.process.poll() is None
    finally:
        peer.process.kill()
        peer.process.wait(30)


def test_a_confined_worker_runs_within_its_memory(assets: Path) -> None:
    peer = Peer("--memory-mb", "1024")
    try:
        labels = (assets / "models" / "coco_labels.txt").read_text().splitlines()[:80]
        fd = memfd_of((assets / "models" / "yolo11n_320_fp32deq.onnx").read_bytes(), "model")
        peer.ask(
            ipc.ModelLoaded,
            ipc.LoadModel,
            fd,
            release="people 1",
            variant=variant(input=InputSpec(width=320, height=320)),
            labels=labels,
            threads=2,
            confidence=0.25,
            iou=0.6,
        )
        os.close(fd)
        film = assets / "videos" / "one-by-one-person-detection.mp4"
        peer.open_cameras(CameraConfig(name="door", source=str(film)))
        assert not peer.next(ipc.FrameResult).error
    finally:
        peer.process.kill()
        peer.process.wait(30)
