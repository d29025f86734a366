"""A whole device as Home Assistant sees it: entities with states, pictures, an update's progress, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.parts.home_assistant import HomeAssistantView
from tests.parts.listener import fleet_listener
from tests.parts.processes import until

if TYPE_CHECKING:
    from tests.parts.listener import Listener
    from tests.parts.site import Site

SETTINGS = {"enabled": True, "pictures": True, "picture_s": 0.5}


def seen(listener: Listener) -> HomeAssistantView:
    view = HomeAssistantView()
    for topic, payload in list(listener.heard):
        view.take(topic, payload)
    return view


def test_home_assistant_lists_the_entities_of_a_whole_device(site: Site) -> None:
    listener = fleet_listener(site)
    device = site.serving("homely", home_assistant=SETTINGS, telemetry={"interval_s": 0.5})
    assert site.install(device, site.release("2.0.0")).status.value == "succeeded"
    camera = "belt"
    wanted = {"temperature", "rate", "model", f"{camera}_occupancy", f"{camera}_count"}
    until(lambda: wanted | {f"{camera}_picture"} <= set(seen(listener).states), 30.0, "states")
    until(lambda: seen(listener).states["model"].endswith("2.0.0"), 30, "the new version")
    until(lambda: float(seen(listener).states["rate"]) > 0, 30, "frames flow")
    view = seen(listener)
    assert view.states[f"{camera}_picture"].startswith(b"\xff\xd8")
    assert all(view.available.values())
    assert view.devices["homely"]["sw_version"]
    device.kill()
    until(lambda: not any(seen(listener).available.values()), 30, "unavailable")
    listener.close()
