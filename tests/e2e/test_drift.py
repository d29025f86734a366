"""Drift on a real device: a release that was made for much darker pictures than its camera gives."""

from __future__ import annotations

import pytest

from agent.demo.releases import Script
from agent.drift.baseline import learn
from agent.schema.drift import BASELINE_VERSION, DriftBaseline, DriftNotice, FrameFigures
from agent.schema.messages import Telemetry
from agent.trust.ledger import Ledger
from tests.parts.processes import until
from tests.parts.site import FILM, Site

VARIANT = "onnx-fp32-320"
CELLS = [8.0] * 48
DARK = FrameFigures(
    brightness=8.0,
    contrast=3.0,
    sharpness=10.0,
    noise=1.0,
    red=1.0,
    blue=1.0,
    dark=1.0,
    bright=0.0,
    levels=CELLS,
    detail=CELLS,
)
BASELINE = DriftBaseline(
    v=BASELINE_VERSION, night_below=0.0, variants={VARIANT: learn([DARK] * 20, 0.0)}
)
MADE_FOR_THE_DARK = Script("8.0.0", 8, ("parts-1.onnx",), drift_baseline=BASELINE)


@pytest.fixture
def site(own_site: Site) -> Site:
    """A fleet in which no other test must publish a lower counter afterwards."""
    return own_site


def test_a_camera_that_shows_something_else_is_told_everywhere(site: Site) -> None:
    device = site.running(
        "drifts", cameras=[FILM], drift={"every_s": 0.01}, telemetry={"interval_s": 0.5}
    )
    reply = site.install(device, site.release("8.0.0", MADE_FOR_THE_DARK))
    assert reply.status.value == "succeeded", reply
    state = site.wait(device, lambda state: state.drifted != {})
    assert set(state.drifted.values()) == {"over-exposure"}
    (camera,) = state.drifted
    until(lambda: site.messages(device, DriftNotice), 30, "the alarm is a message")
    notice = site.messages(device, DriftNotice)[-1]
    assert (notice.report.name, notice.variant) == (camera, VARIANT)
    assert {one.figure for one in notice.report.changes} >= {"brightness", "contrast"}
    until(lambda: "over-exposure" in device.cli("status").stdout, 60, "the status tells it")
    until(
        lambda: any(one.drift for one in site.messages(device, Telemetry)), 30, "telemetry has it"
    )
    until(
        lambda: any(one.pace for one in site.messages(device, Telemetry)), 60, "so does its speed"
    )
    ledger = Ledger(device.folder / "state" / "commands.db")
    try:
        assert f"{camera} drifted over-exposure" in " ".join(map(str, ledger.rows(20)))
    finally:
        ledger.close()
