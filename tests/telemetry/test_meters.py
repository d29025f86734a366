"""Rates and percentiles of the worker's results."""

from __future__ import annotations

import pytest

from agent.schema.camera_report import CameraReport
from agent.schema.ipc import FrameResult, Heartbeat
from agent.schema.messages import StageMs
from agent.telemetry.meters import SAMPLES, Meters, percentile

SECOND_NS = 1_000_000_000


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.ns = 50 * SECOND_NS

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def result(infer_ms: float, *, error: str = "") -> FrameResult:
    return FrameResult(
        camera="door",
        frame=1,
        captured_ms=0,
        captured_ns=0,
        finished_ns=0,
        width=1,
        height=1,
        boxes=[],
        stages_ms={"infer": infer_ms, "post": 1.0},
        error=error,
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_the_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], share) == expected


def test_one_value_is_every_percentile() -> None:
    assert [percentile([7.0], share) for share in (0.0, 0.5, 0.99)] == [7.0, 7.0, 7.0]


def test_stages_and_rate_cover_the_window_only(clock: Clock) -> None:
    meters = Meters(clock)
    meters.frame(result(1000.0))
    clock.ns += 20 * SECOND_NS
    for value in range(1, 101):
        clock.ns += SECOND_NS // 20
        meters.frame(result(float(value)))
    reading = meters.read(10.0)
    assert reading.stages == {
        "infer": StageMs(p50=50.0, p95=95.0, p99=99.0),
        "post": StageMs(p50=1.0, p95=1.0, p99=1.0),
    }
    assert reading.fps == 10.0
    assert meters.snapshot() == reading.stages


def test_just_after_the_start_the_rate_is_not_diluted(clock: Clock) -> None:
    meters = Meters(clock)
    for _ in range(10):
        clock.ns += SECOND_NS // 10
        meters.frame(result(5.0))
    assert meters.read(10.0).fps == 10.0


def test_a_full_memory_still_gives_the_true_rate(clock: Clock) -> None:
    meters = Meters(clock)
    for _ in range(SAMPLES + 500):
        clock.ns += SECOND_NS // 1000
        meters.frame(result(1.0))
    assert meters.read(10.0).fps == pytest.approx(1000.0, rel=0.01)


def test_failed_frames_count_as_errors_and_not_as_speed(clock: Clock) -> None:
    meters = Meters(clock)
    clock.ns += SECOND_NS
    meters.frame(result(5.0))
    meters.frame(result(900.0, error="model.failed"))
    reading = meters.read(10.0)
    assert (reading.fps, reading.errors) == (1.0, 1)
    assert reading.stages["infer"].p99 == 5.0


def test_nothing_measured_is_no_error(clock: Clock) -> None:
    reading = Meters(clock).read(10.0)
    assert (reading.fps, reading.stages, reading.errors) == (0.0, {}, 0)


def test_cameras_are_those_of_the_newest_heartbeat(clock: Clock) -> None:
    meters = Meters(clock)
    reports = [
        CameraReport(name=name, status="streaming", fps=1.0, captured=2, processed=1, dropped=1)
        for name in ("yard", "door")
    ]
    meters.heartbeat(Heartbeat(at_ns=1, cameras=reports[:1]))
    meters.heartbeat(Heartbeat(at_ns=2, cameras=reports))
    assert [one.name for one in meters.cameras] == ["door", "yard"]
    meters.restarted()
    assert meters.restarts == 1
