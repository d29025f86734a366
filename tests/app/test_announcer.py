"""What goes wrong is logged as a warning, and its end is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.app.announcer import Announcer
from agent.schema.drift import DriftNotice, DriftReport
from agent.schema.messages import MESSAGE_VERSION
from agent.schema.pace import PaceReport


@pytest.fixture
def announcer() -> Announcer:
    page: Any = SimpleNamespace(drifts=SimpleNamespace(add=id))
    streams: Any = SimpleNamespace(drift=id)
    own: Any = SimpleNamespace(ledger=SimpleNamespace(record=lambda *_: None))
    return Announcer(streams, own, lambda: page)


def test_a_camera_that_is_steady_again_is_no_warning(
    announcer: Announcer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for report in (
        DriftReport(name="belt", state="drifted", cause="blur"),
        DriftReport(name="belt", state="steady"),
    ):
        announcer.drift(
            DriftNotice(
                v=MESSAGE_VERSION, device="cam-1", at_ms=0, release="b", variant="c", report=report
            )
        )
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "camera belt drifted blur"),
        ("INFO", "camera belt steady"),
    ]


def test_a_speed_that_is_as_usual_again_is_no_warning(
    announcer: Announcer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    announcer.pace(PaceReport(state="slow", stage="infer", cause="clock", reason="half the clock"))
    announcer.pace(PaceReport(state="usual"))
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "speed: half the clock"),
        ("INFO", "speed: as usual"),
    ]
