"""A kept event in a real browser: its clip is played, and names that are markup stay text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent.console.server import Console
from agent.events.store import EventStore
from agent.schema.avi import Film, write_avi
from agent.schema.config import CameraConfig
from agent.schema.events import PictureKind
from agent.schema.recording import StoreConfig
from tests.console.browser import browser, missing
from tests.console.scripted import Device, event, jpeg, report
from tests.parts.processes import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")
MARKUP = "<img src=x onerror=window.harmed=1>"
SHADES = (20, 120, 220)
MIDDLE = "c => c.getContext('2d').getImageData(320, 180, 1, 1).data[0]"


@pytest.fixture
def console(device: Device, tmp_path: Path) -> Iterator[Console]:
    """A camera and a class whose names are markup, and one kept event with a clip."""
    store = EventStore(tmp_path / "events", StoreConfig(min_free_mb=0))
    clip = write_avi(Film([jpeg(shade) for shade in SHADES], 640, 360, 20.0))
    store.put_event(replace(event(1, "end"), label=MARKUP))
    store.put_picture("belt-1", PictureKind.CLIP, clip)
    store.flush()
    device.archive = store
    device.configured = {MARKUP: CameraConfig(name=MARKUP, source="pattern:")}
    device.cameras = (report(MARKUP, problem=MARKUP),)
    running = device.console()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page()
    yield opened
    opened.close()


def test_a_clip_is_played_to_its_end_and_from_where_one_likes(page: Any, console: Console) -> None:
    page.goto(f"{console.url}#events/belt-1")
    page.get_by_role("button", name="Play clip").click()
    place, picture = page.get_by_label("Place in the clip"), page.locator(".film canvas")
    until(lambda: place.input_value() == "2", 60, "the last picture is reached")
    until(lambda: abs(picture.evaluate(MIDDLE) - SHADES[2]) <= 2, 60, "it is shown")
    page.get_by_role("button", name="Play clip").wait_for()
    place.fill("1")
    until(lambda: abs(picture.evaluate(MIDDLE) - SHADES[1]) <= 2, 60, "the one before is shown")


def test_a_name_that_is_markup_is_shown_as_text_everywhere(page: Any, console: Console) -> None:
    views = {"live": "live", "zones": "zones", "system": "system", "events/belt-1": "detail"}
    for address, view in views.items():
        page.goto(f"{console.url}#{address}")
        page.locator(f"#{view}", has_text=MARKUP).wait_for()
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("window.harmed ?? null") is None
