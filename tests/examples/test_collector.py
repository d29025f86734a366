"""The collector over a real folder, key and daily count; only the worker is played."""

from __future__ import annotations

import base64
import io
import tarfile
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.errors import CameraError, TrustError
from agent.examples.collector import Collector, Ports
from agent.examples.shelf import Shelf
from agent.host.disk import REAL_DISK
from agent.models.store import InstalledRelease
from agent.schema.document import parse_msgpack
from agent.schema.examples import EXAMPLE_PURPOSE, Example, ExamplesConfig, Reason
from agent.schema.ipc import FrameGrabbed, FrameResult
from agent.schema.manifest import ReleaseRef
from agent.schema.update_config import MeteredConfig
from agent.schema.values import Box
from agent.trust.keys import FileKey, load_private
from agent.trust.sealed_box import open_box
from agent.update.metered import Meter
from tests.examples.conftest import box
from tests.parts.releases import manifest, variant

JPEG = b"\xff\xd8 a person at a door " * 40
WEAK, SURE = [box(0.3)], [box(0.9)]


class Desk:
    """A collector; `show` returns once all frames were considered."""

    def __init__(self, folder: Path, daily_mb: float = 1.0, keep_mb: float = 1.0) -> None:
        self.key_file = folder / "fleet.key"
        public = FileKey.create(self.key_file).public_bytes
        config = ExamplesConfig(
            key=base64.b64encode(public).decode(), control_every=0, gap_s=1.0, daily_mb=daily_mb
        )
        self.shelf = Shelf(folder / "examples", REAL_DISK, int(keep_mb * 1e6))
        self.causes: dict[str, str] = {}
        self.seen: list[Box] | None = None  # None: as the frame that was chosen
        self.broken = False
        made = variant()
        ref = ReleaseRef(path="models/shop/yolo/1.2/manifest.json", sha256="a" * 64)
        release = InstalledRelease(ref, manifest(made), made, Path())
        day = MeteredConfig(daily_mb=daily_mb)
        noon = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
        meter = Meter(day, folder / "day.json", now=lambda: noon)
        ports = Ports(self._grab, lambda: release, lambda: self.causes, meter)
        self.collector = Collector("cam-1", config, self.shelf, ports)
        self._shown = self._grabbed = 0
        self._boxes = WEAK

    def show(self, boxes: list[Box], times: int = 1) -> None:
        self._boxes = boxes
        for _ in range(times):
            self._shown += 1
            self.collector.frame(self._result(boxes))
        over = threading.Event()
        loop = threading.Thread(target=self.collector.run, args=(over,))
        loop.start()
        while not self.collector._waiting.empty():
            over.wait(0.001)
        over.set()
        loop.join(30)

    def kept(self) -> list[Example]:
        with tarfile.open(fileobj=io.BytesIO(self.shelf.batch(1 << 24).data)) as tar:
            boxes = [tar.extractfile(entry) for entry in tar]
            sealed = [one.read() for one in boxes if one is not None]
        private = load_private(self.key_file)
        return [parse_msgpack(open_box(one, private, EXAMPLE_PURPOSE), Example) for one in sealed]

    def _grab(self, camera: str, max_width: int, quality: int) -> tuple[FrameGrabbed, bytes]:
        assert (max_width, quality) == (1280, 92)
        if self.broken:
            raise CameraError("no picture", code="camera.no_picture")
        boxes = self._boxes if self.seen is None else self.seen
        self._grabbed += 1
        at_ms = 1_700_000_000_000 + self._grabbed
        frame = FrameGrabbed(
            id=1,
            camera=camera,
            frame=1,
            captured_ms=at_ms,
            width=160,
            height=90,
            boxes=boxes,
        )
        return frame, JPEG

    def _result(self, boxes: list[Box]) -> FrameResult:
        at_ns = self._shown * 2_000_000_000
        return FrameResult(
            camera="door",
            frame=self._shown,
            captured_ms=1,
            captured_ns=at_ns,
            finished_ns=at_ns,
            width=1920,
            height=1080,
            boxes=boxes,
            stages_ms={},
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_uncertain_frame_is_kept_with_what_was_seen_in_it(desk: Desk) -> None:
    desk.show(SURE)
    desk.show(WEAK)
    (kept,) = desk.kept()
    assert (kept.reason, kept.camera, kept.device) == (Reason.UNCERTAIN, "door", "cam-1")
    assert (kept.jpeg, kept.boxes, kept.width) == (JPEG, WEAK, 160)
    assert kept.labels


def test_a_frame_of_a_camera_that_drifted_is_kept_with_the_cause(desk: Desk) -> None:
    desk.causes = {"door": "blur"}
    desk.show(SURE)
    (kept,) = desk.kept()
    assert (kept.reason, kept.cause) == (Reason.DRIFT, "blur")


def test_a_picture_that_shows_nothing_uncertain_any_more_is_not_kept(desk: Desk) -> None:
    desk.seen = SURE
    desk.show(WEAK)
    assert desk.kept() == []


def test_a_picture_in_which_two_models_differ_is_kept_as_it_was_judged(desk: Desk) -> None:
    frame, _ = desk._grab("door", 1280, 92)
    for _ in range(2):  # the second is too near
        desk.collector.differing(replace(frame, boxes=SURE), JPEG + b"!")
    desk.show([])
    (kept,) = desk.kept()
    assert (kept.reason, kept.boxes, kept.jpeg) == (Reason.DISAGREEMENT, SURE, JPEG + b"!")


def test_the_picture_is_never_on_the_disk_as_it_is(desk: Desk, tmp_path: Path) -> None:
    desk.show(WEAK)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".example" for path in files)
    assert not any(b"a person at a door" in path.read_bytes() for path in files)


def test_another_key_does_not_open_it(desk: Desk, tmp_path: Path) -> None:
    desk.show(WEAK)
    desk.key_file = tmp_path / "other.key"
    FileKey.create(desk.key_file)
    with pytest.raises(TrustError) as caught:
        desk.kept()
    assert caught.value.code == "trust.box"


def test_no_more_than_the_day_allows(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily_mb=0.003)
    desk.show(WEAK, times=8)
    size = len(JPEG)
    kept = len(desk.kept())
    assert 0 < kept < 8
    assert (kept - 1) * size < 3000  # the last one may go over


def test_the_oldest_make_room(tmp_path: Path) -> None:
    desk = Desk(tmp_path, keep_mb=0.003)
    desk.show(WEAK, times=5)
    times = [one.captured_ms % 100 for one in desk.kept()]
    assert times == [4, 5]


def test_a_camera_without_a_picture_does_not_end_the_loop(desk: Desk) -> None:
    desk.broken = True
    desk.show(WEAK)
    desk.broken = False
    desk.show(WEAK)
    assert len(desk.kept()) == 1


def test_a_failed_frame_is_not_considered(desk: Desk) -> None:
    desk.collector.frame(replace(desk._result(WEAK), error="model.failed"))
    assert desk.collector._waiting.empty()


def named(shelf: Shelf, limit_bytes: int) -> tuple[int, str, int]:
    _, pictures, last, left = shelf.batch(limit_bytes)
    return pictures, last, left


def test_a_shelf_is_emptied_in_batches_that_are_forgotten_once_they_arrived(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "examples", REAL_DISK, 1 << 20)
    assert named(shelf, 100) == (0, "", 0)
    for n in range(3):
        shelf.put(f"{n:013d}-door", bytes(60))
    assert named(shelf, 130) == (2, "0000000000001-door.example", 1)
    assert named(shelf, 130) == (2, "0000000000001-door.example", 1)  # nothing is lost on the way
    assert shelf.forget("") == 0
    assert shelf.forget("0000000000001-door.example") == 2
    assert named(shelf, 10) == (1, "0000000000002-door.example", 0)
