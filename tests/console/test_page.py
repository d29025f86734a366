"""The page in a real browser: what a person sees, and that nothing is refused or complains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.console.server import Console
from agent.host.ports import free_port
from agent.schema.drift import Change, DriftNotice, DriftReport
from agent.schema.governor import GovernorMove, GovernorReport
from agent.schema.messages import Outcome, Phase, UpdateReport
from tests.console.browser import browser, missing
from tests.console.comparing import compared
from tests.console.conftest import TOKEN
from tests.console.scripted import Device, event, report, state, telemetry
from tests.parts.processes import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")


# In one step, because every new picture brings new boxes.
WHERE = """() => {
    const box = document.querySelector("svg.boxes rect.box").getBoundingClientRect();
    const picture = document.querySelector(".picture canvas").getBoundingClientRect();
    return [box.x - picture.x, box.y - picture.y, box.width, picture.width / 640];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page whose console messages, errors and foreign requests are kept in `page.complaints`."""
    opened = chromium.new_page()
    opened.complaints = []
    opened.on("console", lambda message: opened.complaints.append(message.text))
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    opened.close()


def test_the_page_shows_the_boxes_of_the_picture_and_nothing_is_refused(
    page: Any, console: Console
) -> None:
    page.goto(console.url)
    page.wait_for_selector("svg.boxes g[data-track='12']")
    assert page.locator("svg.boxes text").all_text_contents() == ["bolt 93% #7", "washer 71% #12"]
    left, top, width, scale = page.evaluate(WHERE)
    assert left == pytest.approx(40 * scale, abs=3)
    assert top == pytest.approx(60 * scale, abs=3)
    assert width == pytest.approx(140 * scale, abs=4)
    middle = "c => [...c.getContext('2d').getImageData(320, 180, 1, 1).data]"
    assert page.locator(".picture canvas").first.evaluate(middle)[:3] == pytest.approx(
        [90] * 3, abs=2
    )
    assert page.complaints == []


LOADED = "images => images.map((image) => image.naturalWidth)"
ALONE = {"running": ["washer 71%"], "candidate": ["nut 55%"]}
AGREEMENT = [
    "all classes71.4 %5110.000",
    "bolt100.0 %3000.000",
    "nut0.0 %001\u2013",
    "washer66.7 %2100.000",
]
SLOW = "infer 30.1 ms, 2.0 times the 15.0 ms of this device's past: other processes use 1.6 cores"
PARTS: dict[str, tuple[str, ...]] = {
    "live": (
        "parts 1.2.0 · onnx-fp32-320",
        "probation",
        "broker connected",
        "vision running",
        "49.8",
    ),
    "model-view": (
        "parts 1.3.0 · onnx-int8-320",
        "3 of 100 frames · about 5 h left",
        "71.4 % agree",
        "running 11.0 / 11.0 ms · candidate 19.5 / 19.5 ms",
        "1 seen by one alone",
        "rolled back",
        "<b>every</b> frame failed [model.errors]",
        "outbox is full",
    ),
    "speed": ("11.0", "full (2 of 3)", "p95 120 ms, limit 100 ms", "other processes use 1.6 cores"),
    "system": (
        "camera door: stalled",
        "gate closed, 812 held back",
        "connected by MQTT 5",
        "61.5 °C",
        "the belt stands still",
    ),
    "drift": ("dirt or occlusion", "sharpness 4.00, usually 61.00", "42 windows judged, now day"),
}


def test_every_part_of_the_page_shows_what_it_is_for(
    page: Any, device: Device, tmp_path: Path
) -> None:
    device.shadow = compared(tmp_path)
    console = device.console()
    console.start()
    device.state = state(phase=Phase.PROBATION, problem="outbox is full", rung="full", slow=SLOW)
    governor = GovernorReport(rung="full", index=1, rungs=3)
    change = Change(figure="sharpness", usual=61.0, found=4.0, psi=2.0, ks=1.0)
    dirty = DriftReport(name="belt", state="drifted", cause="dirt or occlusion", changes=[change])
    well = DriftReport(name="door", state="steady", period="day", judged=42)
    device.telemetry = telemetry(governor=governor, drift=[dirty, well])
    notice = DriftNotice(v=1, device="d", at_ms=1, release="r", variant="v", report=dirty)
    console.drifts.add(notice)
    device.cameras = (
        report("belt", fps=49.8, gate="closed", gated=812),
        report("door", problem="camera door: stalled"),
    )
    console.events.add(event(1, "end"))
    reason = "<b>every</b> frame failed"
    failed = UpdateReport(
        release="parts 9", path="p", outcome=Outcome.ROLLED_BACK, code="model.errors", reason=reason
    )
    console.updates.add(failed)
    why = "p95 120 ms, limit 100 ms"
    console.moves.add(
        GovernorMove(
            v=1, device="d", at_ms=1, origin="best", rung="full", cause="queue", reason=why
        )
    )
    console.log.handle(
        logging.LogRecord("agent.x", logging.WARNING, "", 1, "the belt stands still", None, None)
    )
    page.goto(console.url)
    for part, facts in PARTS.items():
        page.goto(f"{console.url}#{part}")
        assert page.locator(".places [aria-current]").get_attribute("href") == f"#{part}"
        for fact in facts:
            page.get_by_text(fact).locator("visible=true").first.wait_for()
    page.goto(f"{console.url}#model-view")
    pictures = page.locator("#differences img")
    until(lambda: pictures.evaluate_all(LOADED) == [640, 640], 30, "both pictures are there")
    for model, names in ALONE.items():
        assert page.locator(f"#differences .{model} text").all_text_contents() == names
    assert page.locator("#differences .agreed").count() == 6
    rows = page.locator("#agreement tbody tr").all_text_contents()
    assert rows == AGREEMENT
    assert page.complaints == []
    console.stop()


def test_the_live_stream_is_open_only_while_the_live_view_is_seen(
    page: Any, console: Console, device: Device
) -> None:
    page.goto(f"{console.url}#system")
    page.get_by_text("line-3").wait_for()
    page.get_by_text("streaming").locator("visible=true").first.wait_for()
    assert device.grabs == {}
    page.goto(f"{console.url}#live")
    page.wait_for_selector("svg.boxes g")
    page.goto(f"{console.url}#system")
    until(lambda: console._viewers.open == 0, 30, "the stream is closed")


def test_the_page_says_when_the_agent_is_gone_and_goes_on_when_it_is_back(
    page: Any, device: Device
) -> None:
    port = free_port()
    first = device.console(port=port)
    first.start()
    page.goto(first.url)
    page.wait_for_selector("svg.boxes g")
    first.stop()
    page.get_by_text("No answer from the agent").wait_for(timeout=60_000)
    second = device.console(port=port)
    second.start()
    page.locator("#banner").wait_for(state="hidden", timeout=60_000)
    page.wait_for_selector("svg.boxes g", timeout=60_000)
    second.stop()


def test_a_person_logs_in_with_the_token(page: Any, locked: Console) -> None:
    page.goto(locked.url)
    page.get_by_label("Token").fill("wrong token")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("That is not the token.").wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open").click()
    page.wait_for_selector("svg.boxes g")
    assert page.evaluate("document.cookie") == ""


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Any, console: Console) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(console.url)
    page.wait_for_selector("svg.boxes g")
    lowest = page.locator(".tile figcaption").first.evaluate(
        "e => e.parentElement.getBoundingClientRect().bottom - e.getBoundingClientRect().bottom"
    )
    assert lowest >= 0, "the caption is inside its tile"
    for part in ("live", "events", "zones", "speed", "model-view", "system"):
        page.goto(f"{console.url}#{part}")
        page.locator(f"#{part}").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, part
