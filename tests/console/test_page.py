"""The page in a real browser: what a person sees, and that nothing is refused or complains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.console.server import Console
from agent.schema.messages import Outcome, Phase, UpdateReport
from tests.console.browser import browser, missing
from tests.console.conftest import TOKEN
from tests.console.scripted import Device, event, state

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")


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
    where = "e => { const { x, y, width } = e.getBoundingClientRect(); return { x, y, width } }"
    drawn = page.locator("svg.boxes rect.box").first.evaluate(where)
    shown = page.locator(".picture canvas").first.evaluate(where)
    scale = shown["width"] / 640
    assert drawn["x"] - shown["x"] == pytest.approx(40 * scale, abs=3)
    assert drawn["y"] - shown["y"] == pytest.approx(60 * scale, abs=3)
    assert drawn["width"] == pytest.approx(140 * scale, abs=4)
    middle = "c => [...c.getContext('2d').getImageData(320, 180, 1, 1).data]"
    assert page.locator(".picture canvas").first.evaluate(middle)[:3] == pytest.approx(
        [90] * 3, abs=2
    )
    assert page.complaints == []


def test_the_page_says_what_runs_how_fast_and_what_became_of_updates(
    page: Any, console: Console, device: Device
) -> None:
    device.state = state(phase=Phase.PROBATION, problem="outbox is full")
    console.events.add(event(1, "end"))
    console.updates.add(
        UpdateReport(
            release="parts 9.9.9",
            path="p",
            outcome=Outcome.ROLLED_BACK,
            code="model.errors",
            reason="<b>every</b> frame failed",
        )
    )
    page.goto(console.url)
    page.get_by_text("line-3").wait_for()
    text = page.locator("body").inner_text()
    for fact in (
        "parts 1.2.0 · onnx-fp32-320",
        "probation",
        "broker connected",
        "connected by MQTT 5",
        "vision running",
        "49.8 fps",
        "outbox is full",
        "rolled back",
        "<b>every</b> frame failed [model.errors]",
        "washer",
        "camera door: no frame yet",
        "11.0",
        "61.5 °C",
    ):
        assert fact in text, fact
    assert page.locator("[aria-current='step']").inner_text() == "probation"
    assert page.complaints == []


def test_the_page_says_when_the_agent_is_gone_and_goes_on_when_it_is_back(
    page: Any, device: Device
) -> None:
    first = device.console()
    first.start()
    page.goto(first.url)
    page.wait_for_selector("svg.boxes g")
    first.stop()
    page.get_by_text("No answer from the agent").wait_for(timeout=15_000)
    second = device.console(port=int(first.url.rstrip("/").rpartition(":")[2]))
    second.start()
    page.locator("#banner").wait_for(state="hidden", timeout=15_000)
    page.wait_for_selector("svg.boxes g", timeout=15_000)
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
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
