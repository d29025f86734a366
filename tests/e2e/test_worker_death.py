"""A model is untrusted code: whatever kills its worker, the device stays reachable and sees again soon."""

import os
import signal
import time
from collections.abc import Callable

from agent.schema.messages import Detections, State, Telemetry
from tests.parts.processes import until
from tests.parts.site import FILM, Device, Site
from tests.parts.starving import starved_s

PROMISED_S = 2.0  # of a machine that has the time


def test_detections_are_back_within_two_seconds_and_the_session_never_breaks(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    said = {"interval_s": 0.5, "detections": True}
    device = site.serving("killed", cameras=[FILM], telemetry=said)
    until(lambda: site.messages(device, Detections), 30, "detections flow")
    before = site.messages(device, Telemetry)[-1]

    waited_s = starved_s()
    recovery_s = kill_worker(site, device)
    waited_s = starved_s() - waited_s
    record_property("recovery_s", round(recovery_s, 3))
    record_property("waited_s", round(waited_s, 3))

    assert recovery_s - waited_s < PROMISED_S
    killed_at_s = time.monotonic()
    until(lambda: site.messages(device, Telemetry, killed_at_s), 30, "telemetry flows on")
    after = site.messages(device, Telemetry)[-1]
    assert after.worker_restarts == before.worker_restarts + 1
    assert after.link_reconnects == before.link_reconnects
    assert all(state.online for state in site.messages(device, State))


def test_a_worker_that_keeps_dying_is_restarted_every_time(site: Site) -> None:
    device = site.serving("mortal", telemetry={"interval_s": 0.5, "detections": True})
    until(lambda: site.messages(device, Detections), 30, "detections flow")
    for _ in range(3):
        kill_worker(site, device)
    until(lambda: device.status.telemetry.worker_restarts == 3, 30, "every restart is counted")


def test_a_worker_that_hangs_is_replaced(site: Site) -> None:
    device = site.serving("hanging", telemetry={"interval_s": 0.5, "detections": True})
    until(lambda: site.messages(device, Detections), 30, "detections flow")
    frozen = device.status.worker_pid
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: device.status.worker_pid not in {0, frozen}, 30, "another worker serves")
    again_s = time.monotonic()
    until(lambda: site.messages(device, Detections, again_s), 30, "detections flow again")


def kill_worker(site: Site, device: Device) -> float:
    """Seconds from the kill to the first detections that reach the controller afterwards."""
    worker = device.status.worker_pid
    os.kill(worker, signal.SIGKILL)
    killed_s = time.monotonic()
    # What the dead worker said last may still be on its way.
    until(lambda: device.status.worker_pid not in {0, worker}, 30, "another worker serves")
    until(lambda: fresh(site, device, killed_s), 30, "detections flow again")
    return min(fresh(site, device, killed_s)) - killed_s


def fresh(site: Site, device: Device, since_s: float) -> list[float]:
    """When frames came that were taken at least 50 ms after that second."""
    offset_s = time.time() - time.monotonic()
    return [
        heard.at_s
        for heard in list(site.heard)
        if heard.topic.device == device.name
        and isinstance(heard.message, Detections)
        and heard.message.captured_ms / 1000 > since_s + offset_s + 0.05
    ]
