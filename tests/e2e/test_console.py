"""The page of a real device in a real browser: events with pictures, and a zone that is drawn, tried and kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.config.settings import FILE
from agent.schema.document import parse_json
from agent.schema.settings import SettingsRecord
from tests.console.browser import browser, missing
from tests.parts.processes import until
from tests.parts.site import Device, Site

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")
PATIENCE_MS = 60_000
WIDTH = "image => image.naturalWidth"


@pytest.fixture
def page() -> Iterator[Any]:
    with browser() as chromium:
        opened = chromium.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        yield opened


def kept(device: Device) -> dict[str, Any]:
    path = device.folder / "state" / FILE
    return parse_json(path.read_bytes(), SettingsRecord).kept if path.exists() else {}


@pytest.mark.slow
def test_what_the_device_saw_and_a_zone_that_is_drawn(site: Site, page: Any) -> None:
    device = site.serving("paged")
    page.goto(device.console_url)
    page.wait_for_selector("svg.boxes g[data-label]")
    page.wait_for_selector("svg.boxes [data-place^='inspection']")

    page.goto(f"{device.console_url}#events")
    pictured = page.locator("#cards li:has(img)")
    pictured.first.wait_for()
    until(lambda: pictured.first.locator("img").evaluate(WIDTH) > 0, 30, "a thumbnail is shown")
    pictured.locator("a").last.click()
    snapshot = page.locator("#detail img")
    snapshot.wait_for()
    until(lambda: snapshot.evaluate(WIDTH) > 100, 30, "the event's picture is shown")
    page.keyboard.press("Escape")

    page.goto(f"{device.console_url}#zones")
    page.get_by_role("button", name="Add zone").click()
    page.get_by_label("Name").fill("yard")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("A change is being tried").wait_for()
    page.get_by_text("Saved: the device runs with these zones.").wait_for()
    assert "yard" in kept(device)["cameras"]["belt"]["zones"]
    page.goto(f"{device.console_url}#live")
    page.wait_for_selector("svg.boxes [data-place^='yard']")
