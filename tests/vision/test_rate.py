"""The frame-rate cap: fair, on average, and only above it."""

from __future__ import annotations

import numpy as np
import pytest

from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.vision.cameras import Frame
from agent.vision.capture import Mailbox
from tests.vision import models
from tests.vision.peer import Peer

IMAGE = np.zeros((8, 8, 3), np.uint8)


def frame(index: int, at_s: float) -> Frame:
    return Frame(IMAGE, index, int(at_s * 1000), int(at_s * 1e9), 0.0)


def taken(fps: float, max_fps: float, seconds: int = 20, jitter_s: float = 0.0) -> int:
    mailbox = Mailbox(["door"])
    mailbox.limit(max_fps)
    count = 0
    for index in range(int(seconds * fps)):
        mailbox.put("door", frame(index, 1000 + index / fps + jitter_s * (index % 2)))
        count += mailbox.take(0.0) is not None
    return count


@pytest.mark.parametrize(
    ("fps", "max_fps", "expected"),
    [(15, 0, 300), (15, 10, 200), (15, 5, 100), (15, 1, 20), (10, 15, 200), (10, 10, 200)],
)
def test_the_cap_holds_on_average_and_leaves_slower_cameras_alone(
    fps: float, max_fps: float, expected: int
) -> None:
    assert taken(fps, max_fps) == pytest.approx(expected, abs=2)


def test_frames_that_come_a_little_early_are_not_lost() -> None:
    assert taken(10, 10, jitter_s=0.01) == pytest.approx(200, abs=2)


def test_every_camera_has_its_own_share() -> None:
    mailbox = Mailbox(["door", "yard"])
    mailbox.limit(5)
    seen = {"door": 0, "yard": 0}
    for index in range(300):
        for camera in seen:
            mailbox.put(camera, frame(index, 1000 + index / 15))
        while (found := mailbox.take(0.0)) is not None:
            seen[found[0]] += 1
    assert seen == {"door": pytest.approx(100, abs=2), "yard": pytest.approx(100, abs=2)}


def test_a_frame_above_the_rate_counts_as_dropped() -> None:
    mailbox = Mailbox(["door"])
    mailbox.limit(1)
    lost = [mailbox.put("door", frame(index, 1000 + index / 10)) for index in range(10)]
    assert lost.count(True) >= 8


def test_a_running_worker_is_slowed_down_and_let_go() -> None:
    peer = Peer()
    try:
        peer.next(ipc.Ready)
        peer.load(models.onnx_model())
        refused = peer.ask(ipc.Failed, ipc.SetRate, max_fps=2.0)
        assert "no cameras" in refused.message
        peer.open_cameras(CameraConfig(name="door", source="pattern:64x64"))
        assert gap_s(peer) < 0.3
        peer.ask(ipc.Done, ipc.SetRate, max_fps=2.0)
        peer.next(ipc.FrameResult)
        assert gap_s(peer) > 0.3
        peer.ask(ipc.Done, ipc.SetRate, max_fps=0.0)
        peer.next(ipc.FrameResult)
        assert gap_s(peer) < 0.3
    finally:
        peer.process.kill()
        peer.process.wait(5)
        peer.wire.close()


def gap_s(peer: Peer) -> float:
    """Mean seconds between the captures of four results."""
    times = [peer.next(ipc.FrameResult).captured_ns for _ in range(4)]
    return (times[-1] - times[0]) / 3e9
