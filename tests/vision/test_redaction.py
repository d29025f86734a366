"""What is private never leaves the worker: by no datagram, no picture, no snapshot, no clip."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.schema import ipc
from agent.schema.avi import read_avi
from agent.schema.config import CameraConfig
from agent.schema.document import parse_msgpack
from agent.schema.events import PictureKind
from agent.schema.recording import ClipConfig, EventConfig, SnapshotConfig
from agent.schema.zones import MaskConfig, PrivacyConfig
from agent.vision.cameras import Frame
from agent.vision.detector import Detected
from agent.vision.privacy import Redactor
from tests.vision import models
from tests.vision.peer import ROOT, Peer

WIDTH, HEIGHT = 320, 160
# The model's one box, in the frame: its input is 32 x 32, the frame fills 16 of its rows.
BOX = (slice(10, 70), slice(90, 230))
MASKED = (slice(100, 150), slice(20, 300))
MASK = MaskConfig(name="window", polygon=[(0.05, 0.6), (0.95, 0.6), (0.95, 0.95), (0.05, 0.95)])
BLUR = PrivacyConfig(blur=["blue"], masks=[MASK])
KEEP_ALL = EventConfig(
    snapshots=SnapshotConfig(quality=95),
    clips=ClipConfig(enabled=True, fps=20.0, pre_s=0.5, post_s=0.1, max_s=1.0, quality=95),
)


def secret() -> np.ndarray:
    """White noise in coarse dots, which survives JPEG."""
    dots = np.random.default_rng(7).integers(0, 2, (HEIGHT // 4, WIDTH // 4), np.uint8) * 255
    return np.kron(dots, np.ones((4, 4), np.uint8))[..., None].repeat(3, axis=2)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A blue room with secrets: behind the object, and in the window."""
    for number in range(3):
        image = models.colour_frame(2, size=(HEIGHT, WIDTH))
        for place in (BOX, MASKED):
            image[place] = secret()[place]
        image[..., 0] |= 128  # blue stays the strongest
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    return tmp_path


@dataclass
class Escaped:
    """All that came out of a worker."""

    datagrams: list[bytes] = field(default_factory=list)
    jpegs: dict[str, list[bytes]] = field(default_factory=dict)
    messages: list[ipc.Message] = field(default_factory=list)

    def pictures(self, *kinds: str) -> list[np.ndarray]:
        """Decoded pictures in the frame's own size; thumbnails, which are cut-outs, are asked for by name."""
        return [models.read_picture(jpeg) for kind in kinds for jpeg in self.jpegs.get(kind, [])]

    def take(self, data: bytes, fd: int | None) -> None:
        self.datagrams.append(data)
        message = parse_msgpack(data, ipc.Answer)
        self.messages.append(message)
        if fd is None:
            return
        content = os.pread(fd, 1 << 24, 0)
        os.close(fd)
        if isinstance(message, ipc.EventPicture) and message.kind is PictureKind.CLIP:
            self.jpegs.setdefault("clip", []).extend(read_avi(content).frames)
        elif isinstance(message, ipc.EventPicture):
            self.jpegs.setdefault(message.kind.value, []).append(content)
        else:
            self.jpegs.setdefault("live", []).append(content)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(30)
        made.wire.close()


def watch(peer: Peer, film: Path, privacy: PrivacyConfig, model: bytes | None = None) -> Escaped:
    """Let a worker film, ask it for live pictures, let it close; return all that came out."""
    peer.load(model or models.onnx_model())
    camera = CameraConfig(name="room", source=str(film), fps=20.0, privacy=privacy)
    peer.open_cameras(camera, events=KEEP_ALL)
    escaped = Escaped()
    end = time.monotonic() + 90.0
    frames = 0
    while frames < 25 and time.monotonic() < end:
        received = peer.wire.receive(0.2)
        if received is not None:
            escaped.take(*received)
            is_frame = isinstance(escaped.messages[-1], ipc.FrameResult)
            frames += is_frame
            if is_frame and frames % 5 == 0:
                ask = ipc.GrabFrame(id=1000 + frames, camera="room", max_width=640, quality=95)
                peer.wire.send(ask)
    peer.wire.send(ipc.CloseCameras(id=2000))
    while not any(isinstance(one, ipc.Done) and one.id == 2000 for one in escaped.messages):
        received = peer.wire.receive(max(0.1, end - time.monotonic()))
        assert received is not None, "the worker did not close its cameras in time"
        escaped.take(*received)
    return escaped


def contrast(image: np.ndarray, place: tuple[slice, slice]) -> float:
    """How strongly neighbouring dots differ, 0 to 255; noise of black and white dots has about 100."""
    dots = image[place][2::4, 2::4].astype(float).mean(axis=2)
    return float(np.abs(np.diff(dots, axis=1)).mean())


EVERYTHING = ("live", "snapshot", "clip")


def test_without_privacy_the_secrets_are_seen_by_every_road(peer: Peer, film: Path) -> None:
    escaped = watch(peer, film, PrivacyConfig())
    assert set(escaped.jpegs) == {*EVERYTHING, "thumbnail"}
    for picture in escaped.pictures(*EVERYTHING):
        assert contrast(picture, BOX) > 40
        assert contrast(picture, MASKED) > 40


def test_masked_and_blurred_pixels_leave_by_no_road(peer: Peer, film: Path) -> None:
    escaped = watch(peer, film, BLUR)
    assert set(escaped.jpegs) == {*EVERYTHING, "thumbnail"}
    for picture in escaped.pictures(*EVERYTHING):
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert picture[MASKED].max() < 30
        assert contrast(picture, BOX) < 15
    for picture in escaped.pictures("thumbnail"):
        assert contrast(picture, (slice(60, 116), slice(40, 136))) < 15
    rows = [secret()[row, MASKED[1]].tobytes()[:48] for row in range(100, 150, 4)]
    assert not any(row in datagram for row in rows for datagram in escaped.datagrams)


def test_a_class_to_blur_that_the_model_does_not_know_leaves_no_picture(
    peer: Peer, film: Path
) -> None:
    escaped = watch(peer, film, PrivacyConfig(blur=["face"]))
    assert escaped.jpegs == {}
    refusals = [one for one in escaped.messages if isinstance(one, ipc.Failed)]
    assert {refusal.code for refusal in refusals} == {"camera.no_picture"}
    beats = [one for one in escaped.messages if isinstance(one, ipc.Heartbeat)]
    assert "face" in beats[-1].cameras[0].problem


def test_a_frame_in_which_the_object_was_missed_shows_it_no_more_than_the_others() -> None:
    redactor = Redactor(PrivacyConfig(blur=["blue"]), models.LABELS)
    seen, missed = found((80, 0, 240, 80)), found()
    for number in range(20):
        shown = redactor.show(still(number), missed if number % 3 else seen)
        assert shown is not None
        assert contrast(shown.image, BOX) < 15
    shown = redactor.show(still(60), missed)
    assert shown is not None
    assert contrast(shown.image, BOX) > 40


def still(number: int) -> Frame:
    """A frame of secrets, one each 50 ms."""
    return Frame(secret(), number, number * 50, number * 50_000_000, 0.0)


def found(*boxes: tuple[int, int, int, int]) -> Detected:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.full(len(boxes), models.LABELS.index("blue"), np.int32)
    return Detected(corners, np.full(len(boxes), 0.3, np.float32), labels, {})


def test_a_frame_whose_inference_failed_is_shown_to_nobody(peer: Peer, film: Path) -> None:
    escaped = watch(peer, film, BLUR, models.onnx_model(explosive=True))
    results = [one for one in escaped.messages if isinstance(one, ipc.FrameResult)]
    assert {result.error for result in results} == {"model.not_finite"}
    assert escaped.jpegs == {}


def test_the_model_does_not_see_what_is_masked(peer: Peer, film: Path) -> None:
    everything = MaskConfig(name="all", polygon=[(0, 0), (1, 0), (1, 1), (0, 1)])
    escaped = watch(peer, film, PrivacyConfig(masks=[everything]))
    results = [one for one in escaped.messages if isinstance(one, ipc.FrameResult)]
    assert results
    assert all(result.boxes == [] for result in results)


def test_pictures_are_encoded_in_one_place_that_takes_only_safe_ones() -> None:
    encoders = {
        path.name
        for path in (ROOT / "agent" / "vision").rglob("*.py")
        if "cv2.im" + "encode" in path.read_text() or "cv2.im" + "write" in path.read_text()
    }
    # The gallery writes pictures for people at a workstation; the worker never loads it.
    assert encoders == {"picture.py", "gallery.py"}
    program = (
        "import sys, agent.vision.process, agent.vision.worker;"
        " print('agent.vision.gallery' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert ran.stdout.strip() == b"False"
