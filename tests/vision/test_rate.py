"""The frame-rate cap: fair, on average, and only above it."""

from __future__ import annotations

import pytest

from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.vision.mailbox import Mailbox
from tests.parts.streams import wait_for
from tests.vision import models
from tests.vision.peer import Peer


def admitted(fps: float, max_fps: float, seconds: int = 20, jitter_s: float = 0.0) -> int:
    mailbox: Mailbox[int] = Mailbox(["door"])
    mailbox.limit(max_fps)
    times = [1000 + index / fps + jitter_s * (index % 2) for index in range(int(seconds * fps))]
    return sum(mailbox.admits("door", int(at_s * 1e9)) for at_s in times)


@pytest.mark.parametrize(
    ("fps", "max_fps", "expected"),
    [(15, 0, 300), (15, 10, 200), (15, 5, 100), (15, 1, 20), (10, 15, 200), (10, 10, 200)],
)
def test_the_cap_holds_on_average_and_leaves_slower_cameras_alone(
    fps: float, max_fps: float, expected: int
) -> None:
    assert admitted(fps, max_fps) == pytest.approx(expected, abs=2)


def test_frames_that_come_a_little_early_are_not_lost() -> None:
    assert admitted(10, 10, jitter_s=0.01) == pytest.approx(200, abs=2)


def test_every_camera_has_its_own_share() -> None:
    mailbox: Mailbox[int] = Mailbox(["door", "yard"])
    mailbox.limit(5)
    seen = {
        camera: sum(mailbox.admits(camera, int((1000 + at / 15) * 1e9)) for at in range(300))
        for camera in ("door", "yard")
    }
    assert seen == {"door": pytest.approx(100, abs=2), "yard": pytest.approx(100, abs=2)}


def test_a_running_worker_is_slowed_down_and_let_go() -> None:
    peer = Peer()
    try:
        peer.next(ipc.Ready)
        peer.load(models.onnx_model())
        refused = peer.ask(ipc.Failed, ipc.SetRate, max_fps=2.0)
        assert "no cameras" in refused.message
        peer.open_cameras(CameraConfig(name="door", source="pattern:64x64"))
        wait_for(lambda: gap_s(peer) < 0.3)
        peer.ask(ipc.Done, ipc.SetRate, max_fps=2.0)
        peer.next(ipc.FrameResult)
        assert gap_s(peer) > 0.3
        peer.ask(ipc.Done, ipc.SetRate, max_fps=0.0)
        peer.next(ipc.FrameResult)
        wait_for(lambda: gap_s(peer) < 0.3)
    finally:
        peer.process.kill()
        peer.process.wait(30)
        peer.wire.close()


def gap_s(peer: Peer) -> float:
    """Mean seconds between the captures of four results."""
    times = [peer.next(ipc.FrameResult).captured_ns for _ in range(4)]
    return (times[-1] - times[0]) / 3e9
