"""The zone editor in a real browser: by mouse, finger and keyboard, and what it says of wrong zones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.console.server import Console
from agent.schema.config import CameraConfig, ConsoleRole
from agent.schema.zones import ZoneConfig
from tests.console.browser import browser, missing
from tests.console.desk import Desk
from tests.console.scripted import Device
from tests.parts.processes import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")
SQUARE = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture
def console(device: Device) -> Iterator[Console]:
    """A device whose camera `belt` has one zone, and which everybody here may change."""
    belt = CameraConfig(
        name="belt", source="pattern:", zones=[ZoneConfig(name="gate", polygon=SQUARE)]
    )
    device.configured = {"belt": belt}
    device.settings = Desk()
    running = device.console(without_token=ConsoleRole.OPERATOR)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def page(chromium: Any, console: Console) -> Iterator[Any]:
    context = chromium.new_context(has_touch=True)
    opened = context.new_page()
    opened.goto(f"{console.url}#zones")
    opened.locator("[data-corner='3']").wait_for()
    picture = opened.locator("#stage img")
    until(lambda: picture.evaluate("image => image.naturalWidth") == 640, 30, "a picture is shown")
    yield opened
    context.close()


def saved(page: Any, device: Device) -> dict[str, Any]:
    """Save, and return what the agent was asked to change of the camera."""
    desk = device.settings
    assert isinstance(desk, Desk)
    page.get_by_role("button", name="Save").click()
    until(lambda: bool(desk.proposed), 30, "the change arrives")
    camera: dict[str, Any] = desk.proposed[-1]["cameras"]["belt"]
    return camera


def place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a point of the picture is."""
    box = page.locator(".shapes-layer").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_a_corner_is_dragged_with_the_mouse(page: Any, device: Device) -> None:
    page.mouse.move(*place(page, 0.75, 0.75))
    page.mouse.down()
    page.mouse.move(*place(page, 0.9, 0.6), steps=4)
    page.mouse.up()
    corner = saved(page, device)["zones"][0]["polygon"][2]
    assert corner == pytest.approx([0.9, 0.6], abs=0.01)


def test_a_corner_is_dragged_with_a_finger_and_the_page_does_not_scroll(
    page: Any, device: Device
) -> None:
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    send("touchStart", place(page, 0.25, 0.25))
    for step in range(1, 6):
        send("touchMove", place(page, 0.25 - 0.02 * step, 0.25 + 0.04 * step))
    send("touchEnd")
    assert page.evaluate("window.scrollY") == 0
    corner = saved(page, device)["zones"][0]["polygon"][0]
    assert corner == pytest.approx([0.15, 0.45], abs=0.02)


def test_a_corner_is_moved_added_and_removed_by_keys_alone(page: Any, device: Device) -> None:
    page.locator("[data-corner='1']").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "Zone gate, corner 2 of 4, 77 % from the left, 25 % from the top"
    page.keyboard.press("+")
    assert page.evaluate("document.activeElement.dataset.corner") == "2"
    assert page.locator(".corner").count() == 5
    page.locator("[data-corner='4']").focus()
    page.keyboard.press("Delete")
    polygon = saved(page, device)["zones"][0]["polygon"]
    assert polygon[1] == pytest.approx([0.77, 0.249])
    assert polygon[2] == pytest.approx([0.76, 0.4995])
    assert len(polygon) == 4


def test_a_triangle_keeps_its_corners_and_none_leaves_the_picture(
    page: Any, device: Device
) -> None:
    page.locator("[data-corner='3']").focus()
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    assert page.locator(".corner").count() == 3
    page.locator("[data-corner='0']").focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    assert saved(page, device)["zones"][0]["polygon"][0][0] == 0


def test_zones_lines_and_masks_are_added_named_and_removed(page: Any, device: Device) -> None:
    for kind in ("zone", "line", "mask"):
        page.get_by_role("button", name=f"Add {kind}").click()
    page.get_by_label("Name").fill("window")
    page.get_by_role("button", name="Remove gate").click()
    page.get_by_role("button", name="zone-1 zone").click()
    page.get_by_label("Loiters after, seconds").fill("20")
    page.get_by_label("Only these classes").fill("bolt, nut")
    camera = saved(page, device)
    assert [zone["name"] for zone in camera["zones"]] == ["zone-1"]
    assert (camera["zones"][0]["loiter_s"], camera["zones"][0]["labels"]) == (20.0, ["bolt", "nut"])
    assert [line["name"] for line in camera["lines"]] == ["line-1"]
    assert [mask["name"] for mask in camera["privacy"]["masks"]] == ["window"]


def test_a_speed_is_set_between_two_lines_and_follows_their_names(
    page: Any, device: Device
) -> None:
    for _ in range(2):
        page.get_by_role("button", name="Add line").click()
    page.get_by_role("button", name="Add speed").click()
    assert page.get_by_label("From line").input_value() == "line-1"
    page.get_by_label("Distance, metres").fill("2.5")
    page.get_by_role("button", name="line-2 line").click()
    page.get_by_label("Name").fill("exit")
    page.get_by_label("An object stands at").select_option("center")
    camera = saved(page, device)
    (speed,) = camera["speeds"]
    assert (speed["first"], speed["second"], speed["distance_m"]) == ("line-1", "exit", 2.5)
    assert [line.get("anchor") for line in camera["lines"]] == ["bottom", "center"]


def test_what_is_wrong_is_said_at_its_field_and_can_be_put_right(page: Any, device: Device) -> None:
    page.get_by_label("Name").fill("Big Gate")
    page.get_by_role("button", name="Save").click()
    fault = page.get_by_role("alert")
    fault.wait_for()
    assert "small letters" in fault.inner_text()
    name = page.get_by_label("Name")
    assert name.get_attribute("aria-invalid") == "true"
    assert name.get_attribute("aria-describedby") == fault.get_attribute("id")
    assert page.evaluate("document.activeElement.id") == name.get_attribute("id")
    name.fill("big-gate")
    assert saved(page, device)["zones"][0]["name"] == "big-gate"
    until(lambda: page.get_by_role("alert").count() == 0, 30, "the fault is gone")


def test_discarding_brings_back_what_is_configured(page: Any, device: Device) -> None:
    page.get_by_role("button", name="Remove gate").click()
    assert page.get_by_text("Nothing is drawn").is_visible()
    page.get_by_role("button", name="Discard").click()
    assert page.locator(".corner").count() == 4
    assert page.get_by_role("button", name="Save").is_disabled()


def test_a_viewer_sees_the_zones_and_cannot_change_them(chromium: Any, device: Device) -> None:
    device.settings = Desk()
    running = device.console()
    running.start()
    page = chromium.new_page()
    page.goto(f"{running.url}#zones")
    page.get_by_text("You are a viewer").wait_for()
    assert page.get_by_role("button", name="Add zone").is_disabled()
    assert page.get_by_role("button", name="Save").is_disabled()
    page.close()
    running.stop()
