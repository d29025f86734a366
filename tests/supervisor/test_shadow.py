"""Shadow mode with two real models in real workers; only the board and the clock of the order are played."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import msgspec
import pytest

from agent.app.shadow import lack_of_room
from agent.app.shadow_page import shadow_page
from agent.errors import CommandError
from agent.governor.sensing import Board
from agent.models.store import InstalledRelease
from agent.schema.config import CameraConfig
from agent.schema.ipc import FrameGrabbed
from agent.schema.manifest import ReleaseRef
from agent.schema.shadow import (
    TOLD_CLASSES,
    ClassTally,
    ShadowReport,
    ShadowState,
    StartShadowArgs,
)
from agent.supervisor import Conversation, Listeners, Shadow, Supervisor
from agent.supervisor.comparison import progress_of, report_of
from agent.supervisor.shadow import UPDATE, Means, Ports
from agent.update.ports import Strain
from tests.parts.processes import children, until
from tests.supervisor.test_agreement import SETTINGS, golden, payload, release
from tests.vision import models

QUICK = StartShadowArgs(frames=4, every_s=0.2, cpu_percent=50, pictures=2)
AGREES, BLIND = (
    replace(
        release(name),
        ref=ReleaseRef(path=f"models/test/{name}/1.0/manifest.json", sha256=digit * 64),
    )
    for name, digit in (("agrees", "3"), ("blind", "4"))
)


@dataclass
class Desk:
    """A running model, and shadow mode beside it; `begin` makes another life of it on the same folder."""

    supervisor: Supervisor
    folder: Path
    cameras: list[CameraConfig]
    candidate: InstalledRelease = AGREES
    updating: bool = False
    pinned: ReleaseRef | None = None
    differing: list[str] = field(default_factory=list)

    def made(self) -> Shadow:
        talk = Conversation(SETTINGS, payload, golden)
        ports = Ports(
            serving=lambda: self.supervisor.release,
            grab=self.supervisor.grab,
            open=lambda _record: self.candidate,
            is_updating=lambda: self.updating,
            rest=lambda: "",
            pin=self._pin,
            on_differing=self._differ,
        )
        return Shadow(self.folder, self.cameras, talk, Means(SETTINGS.memory_mb, niceness=1), ports)

    @contextmanager
    def life(self) -> Iterator[Shadow]:
        shadow, stop = self.made(), threading.Event()
        thread = threading.Thread(target=shadow.run, args=(stop,))
        thread.start()
        try:
            yield shadow
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    def pinned_now(self) -> ReleaseRef | None:
        return self.pinned

    def _pin(self, ref: ReleaseRef | None) -> None:
        self.pinned = ref

    def _differ(self, frame: FrameGrabbed, jpeg: bytes) -> None:
        assert jpeg[:2] == b"\xff\xd8"
        self.differing.append(frame.camera)


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Supervisor, list[CameraConfig]]]:
    folder = tmp_path_factory.mktemp("red")
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), models.colour_frame(0))
    cameras = [CameraConfig(name="belt", source=str(folder), fps=20)]
    settings = replace(SETTINGS, cameras=cameras)
    supervisor = Supervisor(
        settings,
        Conversation(settings, payload, golden),
        Listeners(lambda *_: None, lambda _: None, lambda: None),
        lambda _: Strain(),
    )
    supervisor.want(release("sees"))
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        until(lambda: supervisor.health().frames > 0, 60, "frames")
        yield supervisor, cameras
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture
def desk(serving: tuple[Supervisor, list[CameraConfig]], tmp_path: Path) -> Desk:
    return Desk(serving[0], tmp_path, serving[1])


def ended(shadow: Shadow) -> ShadowReport:
    until(lambda: shadow.book.open is None, 60, "the end of the run")
    assert shadow.book.record is not None
    return report_of(shadow.book.record, "cam-1")


def test_a_model_that_agrees_is_told_with_scores_and_times(desk: Desk) -> None:
    with desk.life() as shadow:
        shadow.start(QUICK, AGREES)
        assert desk.pinned_now() == AGREES.ref
        report = ended(shadow)
    assert (report.end, report.frames, report.differing) == ("frames", 4, 0)
    (red,) = report.classes
    assert (red.name, red.both, red.agreement) == ("red", 4, 1.0)
    # The candidate's scores are nine tenths of the running model's 0.8.
    assert red.score_difference == pytest.approx(-0.08, abs=0.02)
    assert report.candidate_latency is not None
    assert report.candidate_latency.frames == 4
    assert report.candidate_latency.p95_ms >= report.candidate_latency.p50_ms > 0
    assert (desk.differing, report.pictures) == ([], [])
    assert desk.pinned_now() is None


def test_what_a_blind_model_misses_is_counted_shown_and_handed_on(desk: Desk) -> None:
    desk.candidate = BLIND
    with desk.life() as shadow:
        shadow.start(QUICK, BLIND)
        report = ended(shadow)
        assert len(report.pictures) == QUICK.pictures
        pictures = {one.file: shadow.book.picture(one) for one in report.pictures}
    assert (report.whole.agreement, report.whole.running_only, report.differing) == (0.0, 4, 4)
    assert desk.differing == ["belt"] * 4
    assert {path.name for path in (desk.folder / "shadow").glob("*.jpg")} == set(pictures)
    page = shadow_page(report, models.LABELS, pictures)
    assert page.count("data:image/jpeg;base64,") == 2
    assert "red 0.8" in page
    assert "<script" not in page


def test_it_goes_on_after_a_restart_and_keeps_what_was_counted(desk: Desk) -> None:
    order = msgspec.structs.replace(QUICK, frames=6)
    with desk.life() as shadow:
        shadow.start(order, AGREES)
        until(lambda: (shadow.progress or order).frames >= 2, 60, "two frames")
    desk.pinned = None
    with desk.life() as shadow:
        assert shadow.progress is not None
        assert shadow.progress.state is ShadowState.RUNNING
        assert desk.pinned_now() == AGREES.ref
        assert shadow.progress.frames >= 2
        report = ended(shadow)
    assert (report.frames, report.whole.both) == (6, 6)


def test_an_update_has_the_candidates_memory_at_once_and_is_counted(desk: Desk) -> None:
    order = msgspec.structs.replace(QUICK, every_s=3600)
    others = set(children(os.getpid()))
    with desk.life() as shadow:
        shadow.start(order, AGREES)
        until(lambda: (shadow.progress or order).frames > 0, 60, "a frame")
        (worker,) = set(children(os.getpid())) - others
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, worker) == min(mine + 1, 19)  # the lowest there is
        desk.updating = True  # the next frame is due in an hour
        until(lambda: set(children(os.getpid())) == others, 60, "the candidate's end")
        assert shadow.progress is not None
        assert shadow.progress.skipped == {}
        shadow._due_ns = 0
        until(lambda: shadow.progress and shadow.progress.skipped.get(UPDATE), 60, "a rest")
        with pytest.raises(CommandError) as caught:
            shadow.require_free()
        assert caught.value.code == "shadow.busy"
        assert shadow.stop().end == "stopped"
        with pytest.raises(CommandError) as caught:
            shadow.stop()
        assert caught.value.code == "shadow.none"


@pytest.mark.parametrize(
    ("board", "rung", "reason"),
    [
        (Board(), 0, ""),
        (Board(temperature_c=74.9, memory_pressure=9.9), 0, ""),
        (Board(temperature_c=75.0, memory_pressure=10.0), 1, "hot"),
        (Board(temperature_c=74.9, memory_pressure=10.0), 1, "busy"),
        (Board(temperature_c=74.9, memory_pressure=10.0), 0, "memory"),
    ],
)
def test_a_candidate_rests_before_the_governor_would_have_to(
    board: Board, rung: int, reason: str
) -> None:
    assert lack_of_room(board, rung, limit_c=80.0, limit_pressure=10.0) == reason


def test_progress_names_the_classes_of_least_agreement_and_the_time_that_is_left(
    desk: Desk,
) -> None:
    shadow = desk.made()
    shadow.start(msgspec.structs.replace(QUICK, frames=40, hours=1.0), AGREES)
    record = shadow.book.record
    assert record is not None
    assert progress_of(record, record.started_ms + 600_000).left_s == 3000  # by time
    classes = {f"c{both}": ClassTally(both=both, running_only=1) for both in range(10)}
    halfway = msgspec.structs.replace(record, frames=20, classes=classes)
    told = progress_of(halfway, record.started_ms + 600_000)
    assert told.left_s == 600
    assert list(told.classes) == [f"c{both}" for both in range(TOLD_CLASSES)]
    assert (told.classes["c0"], told.classes["c1"]) == (0.0, 0.5)
    ended = msgspec.structs.replace(halfway, state=ShadowState.ENDED, end="frames")
    assert progress_of(ended, 0).left_s is None


def test_it_ends_by_time_and_a_model_is_not_compared_with_itself(desk: Desk) -> None:
    with desk.life() as shadow:
        shadow.start(msgspec.structs.replace(QUICK, frames=1000, hours=1e-9), AGREES)
        assert ended(shadow).end == "time"
        running = desk.supervisor.release
        assert running is not None
        with pytest.raises(CommandError) as caught:
            shadow.start(QUICK, running)
    assert caught.value.code == "shadow.same"


def test_a_candidate_that_cannot_be_opened_ends_the_run(desk: Desk) -> None:
    desk.candidate = release("unheard-of")  # no such payload
    shadow = desk.made()
    shadow.start(QUICK, AGREES)
    desk.candidate = replace(
        AGREES, variant=msgspec.structs.replace(AGREES.variant, family="yolox")
    )
    for _ in range(3):
        shadow._due_ns = 0
        shadow.step()
    assert shadow.progress is not None
    assert shadow.progress.end.startswith("failed")
