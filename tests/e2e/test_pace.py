"""Slower than in its own past, on a real device: a network camera that delivers its pictures ever more slowly, and then as before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection

import cv2
import numpy as np
import pytest

from agent.demo.device import CAMERA
from agent.host.board import read_facts
from agent.models.profiles import load_profiles, recognise
from agent.schema.messages import State, Telemetry
from agent.trust.ledger import Ledger
from tests.parts.processes import until
from tests.parts.site import Device, Site
from tests.parts.streams import HttpServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

USUAL_MS = 150.0
PAST = f"times the {USUAL_MS} ms of this device's past"
# Far below and far above, so that a busy test machine makes neither of the other.
QUICK_S, SLOW_S = 0.1, 0.5
_, PICTURE = cv2.imencode(".jpg", np.full((240, 320, 3), 90, np.uint8))
_PATIENCE_S = 240.0  # a minute of slow looks begins it, a minute of quick ones ends it


@dataclass
class MjpegCamera:
    """Shows one picture again and again, `interval_s` after the one before."""

    interval_s: float
    url: str = ""

    def film(self) -> Iterator[bytes]:
        while True:
            yield b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + PICTURE.tobytes() + b"\r\n"
            time.sleep(self.interval_s)


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera(QUICK_S)
    server = HttpServer({"/mjpeg": camera.film})
    camera.url = f"http://127.0.0.1:{server.port}/mjpeg"
    yield camera
    server.close()


def remember(device: Device, release: str, capture_ms: float) -> None:
    """Leave what an earlier life of the agent kept: how long its camera's pictures took. It says nothing of other stages."""
    facts = read_facts()
    runtime = recognise(facts, load_profiles()).runtime
    threads = f"{min(runtime.threads, facts.cores)} threads in {runtime.streams} streams"
    setting = f"{release}/onnx-fp32-320/1 cameras/{threads}"
    state = device.folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    look = {"stages_ms": {"capture": capture_ms}}
    (state / "pace.json").write_text(json.dumps({"past": {setting: [look]}}))


def metric(device: Device) -> str:
    """Return the line of `/metrics` that says whether the device is slow."""
    with closing(HTTPConnection("127.0.0.1", device.port, timeout=10)) as console:
        console.request("GET", "/metrics")
        text = console.getresponse().read().decode()
    return next(line for line in text.splitlines() if line.startswith("vigil_slow"))


def test_a_stage_that_takes_longer_than_it_did_is_told_everywhere_until_it_is_over(
    site: Site, camera: MjpegCamera
) -> None:
    release = site.release("1.0.0")
    source = {"name": CAMERA, "source": camera.url}
    device = site.device("slower", cameras=[source], telemetry={"interval_s": 1.0})
    remember(device, release.sha256, USUAL_MS)
    device.start()
    site.wait_ready(device)
    reply = site.install(device, release)
    assert reply.status.value == "succeeded", reply

    camera.interval_s = SLOW_S
    slow = site.wait(device, lambda state: bool(state.slow), _PATIENCE_S).slow
    assert slow.startswith("capture ")
    assert PAST in slow
    until(lambda: metric(device).endswith(" 1.0"), 30, "/metrics has it")
    # What is responsible may have changed since.
    until(lambda: PAST in told(device), 60, "the status tells it")
    until(lambda: ("slow", "capture") in paces(site, device), 30, "telemetry has it")

    camera.interval_s = QUICK_S
    site.wait(device, is_usual, _PATIENCE_S)
    until(lambda: metric(device).endswith(" 0.0"), 30, "/metrics no longer has it")
    until(lambda: PAST not in told(device), 60, "nor has the status")
    until(lambda: paces(site, device)[-1] == ("usual", ""), 30, "nor has telemetry")
    ledger = Ledger(device.folder / "state" / "commands.db")
    try:
        audited = " ".join(map(str, ledger.rows(20)))
    finally:
        ledger.close()
    assert slow in audited
    assert "as usual" in audited


def is_usual(state: State) -> bool:
    return not state.slow


def told(device: Device) -> str:
    """Return what `vigil status` prints, in one line."""
    return " ".join(device.cli("status").stdout.split())


def paces(site: Site, device: Device) -> list[tuple[str, str]]:
    """Return states and slow stages that telemetry told, in order."""
    reports = [one.pace for one in site.messages(device, Telemetry)]
    return [(one.state, one.stage) for one in reports if one is not None]
