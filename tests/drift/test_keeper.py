"""The keeper: judges fed from results, what they know over restarts, and what is told of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.drift.keeper import FILE, DriftKeeper, Ports
from agent.models.store import InstalledRelease
from agent.schema.drift import (
    BASELINE_VERSION,
    DriftBaseline,
    DriftNotice,
    FrameFigures,
    PeriodBaseline,
)
from agent.schema.ipc import FrameResult
from agent.schema.manifest import ReleaseRef
from tests.drift.conftest import NIGHT_BELOW
from tests.parts.releases import manifest, variant

Figures = list[FrameFigures]


def release_of(baseline: dict[str, PeriodBaseline], sha256: str = "a" * 64) -> InstalledRelease:
    made = variant()
    drift = DriftBaseline(
        v=BASELINE_VERSION,
        night_below=NIGHT_BELOW,
        variants={made.id: baseline} if baseline else {},
    )
    ref = ReleaseRef(path="models/shop/yolo/1.2/manifest.json", sha256=sha256)
    return InstalledRelease(ref, manifest(made, drift_baseline=drift), made, Path())


class Desk:
    """A keeper over a folder, with what it told; `show` returns once all was judged."""

    def __init__(self, folder: Path, release: InstalledRelease) -> None:
        self.told: list[DriftNotice] = []
        self.release = release
        self.keeper = DriftKeeper("d1", folder, Ports(lambda: self.release, self.told.append))

    def show(self, frames: Iterable[FrameFigures], camera: str = "belt") -> None:
        over = threading.Event()
        loop = threading.Thread(target=self.keeper.run, args=(over,))
        loop.start()
        for figures in frames:
            self.keeper.frame(result(camera, figures))
            while self.keeper._waiting.qsize() > 200:
                over.wait(0.001)
        while not self.keeper._waiting.empty():
            over.wait(0.001)
        over.set()
        loop.join(60)

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(one.report.state, one.report.cause) for one in self.told]


def result(camera: str, figures: FrameFigures | None) -> FrameResult:
    return FrameResult(
        camera=camera,
        frame=1,
        captured_ms=1,
        captured_ns=1,
        finished_ns=1,
        width=640,
        height=360,
        boxes=[],
        stages_ms={},
        figures=figures,
    )


def blurred(frame: FrameFigures) -> FrameFigures:
    return replace(frame, sharpness=frame.sharpness / 50)


def turned(frame: FrameFigures) -> FrameFigures:
    """The same light, but everything is in another place."""
    levels, detail = (cells[20:] + cells[:20] for cells in (frame.levels, frame.detail))
    return replace(frame, levels=levels, detail=detail)


@pytest.fixture
def release(baseline: dict[str, PeriodBaseline]) -> InstalledRelease:
    return release_of(baseline)


def test_drift_is_told_with_its_cause_and_shown_until_it_is_over(
    tmp_path: Path, release: InstalledRelease, day: Figures
) -> None:
    desk = Desk(tmp_path, release)
    desk.show(day * 2)
    assert desk.changes == [("steady", "")]
    desk.show([blurred(one) for one in day * 3])
    assert desk.changes[1:] == [("drifted", "blur")]
    assert desk.told[1].variant == release.variant.id
    assert desk.keeper.drifted() == {"belt": "blur"}
    (report,) = desk.keeper.reports()
    assert report.found["sharpness"] < report.usual["sharpness"] / 10
    desk.show(day * 4)
    assert desk.keeper.drifted() == {}


def test_a_camera_that_is_moved_while_the_agent_is_off_is_noticed(
    tmp_path: Path, release: InstalledRelease, day: Figures
) -> None:
    Desk(tmp_path, release).show(day * 2)
    later = Desk(tmp_path, release)
    later.show([turned(one) for one in day * 4])
    assert later.changes == [("drifted", "camera moved")]


def test_an_alarm_outlives_a_restart_and_is_not_told_twice(
    tmp_path: Path, release: InstalledRelease, day: Figures
) -> None:
    Desk(tmp_path, release).show([*day * 2, *[blurred(one) for one in day * 3]])
    later = Desk(tmp_path, release)
    later.show([blurred(one) for one in day])
    assert later.changes == []
    assert later.keeper.drifted() == {"belt": "blur"}


def test_a_view_that_was_changed_on_purpose_is_learned_anew(
    tmp_path: Path, release: InstalledRelease, day: Figures
) -> None:
    desk = Desk(tmp_path, release)
    desk.show([*day * 2, *[turned(one) for one in day * 4]])
    assert desk.keeper.drifted() == {"belt": "camera moved"}
    desk.keeper.forget_view("belt")
    desk.show([turned(one) for one in day * 4])
    assert desk.keeper.drifted() == {}
    desk.show([turned(one) for one in day])
    assert desk.changes[-1] == ("steady", "")


def test_another_release_is_judged_from_the_beginning(
    tmp_path: Path, release: InstalledRelease, baseline: dict[str, PeriodBaseline], day: Figures
) -> None:
    desk = Desk(tmp_path, release)
    desk.show([*day * 2, *[blurred(one) for one in day * 3]])
    desk.release = release_of(baseline, "b" * 64)
    assert desk.keeper.reports() == []
    desk.show(day * 2)
    assert [one.state for one in desk.keeper.reports()] == ["steady"]


def test_a_release_without_a_baseline_is_not_judged(tmp_path: Path, day: Figures) -> None:
    desk = Desk(tmp_path, release_of({}))
    desk.show(day * 2)
    assert desk.keeper.reports() == []
    assert not (tmp_path / FILE).exists()


def test_a_memory_that_cannot_be_read_is_learned_anew(
    tmp_path: Path, release: InstalledRelease, day: Figures
) -> None:
    (tmp_path / FILE).write_bytes(b"\xc1nonsense")
    desk = Desk(tmp_path, release)
    desk.show(day * 2)
    assert desk.changes == [("steady", "")]
