"""Settings changed from afar on a real device: kept when all is well, undone when it is not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from agent.config.settings import FILE
from agent.fleet.operators import Order, SignedCommand
from agent.schema.document import parse_json
from agent.schema.messages import Reply, ReplyStatus
from agent.schema.settings import SettingsRecord
from tests.parts.processes import until
from tests.parts.site import FILM, QUICK, Device, Site

WITHIN_S = 60.0  # in which a good change must be seen to be one
SOON_S = 10.0  # in which a bad one is given up


def change(
    site: Site,
    device: Device,
    changes: dict[str, Any],
    cmd: str = "set-config",
    within_s: float = WITHIN_S,
) -> SignedCommand:
    args = {"changes": changes, "within_s": within_s}
    return site.fleet.order(Order(cmd, args, f"d/{device.name}"))


def record(device: Device) -> SettingsRecord:
    return parse_json((device.folder / "state" / FILE).read_bytes(), SettingsRecord)


def statuses(site: Site, device: Device, command: SignedCommand) -> list[ReplyStatus]:
    return [one.status for one in site.messages(device, Reply) if one.id == command.id]


def is_on_trial(device: Device, tries: int = 0) -> bool:
    path: Path = device.folder / "state" / FILE
    trial = record(device).trial if path.exists() else None
    return trial is not None and trial.tries >= tries


def is_slow(device: Device) -> bool:
    cameras = device.status.telemetry.cameras  # none where it has just begun anew
    return bool(cameras) and 0 < cameras[0].fps < 5


def test_a_good_change_is_kept_and_a_bad_one_is_refused_before_anything_happens(
    site: Site,
) -> None:
    device = site.serving("tuned", cameras=[FILM])
    pid, file = device.pid, device.config.read_text()
    refused = site.end_of(change(site, device, {"detect": {"iou": 7}}))
    assert (refused.status, refused.code) == (ReplyStatus.FAILED, "config.invalid")
    assert "$.detect.iou" in refused.message
    protected = site.end_of(change(site, device, {"broker": {"port": 1}}))
    assert protected.code == "config.protected"
    command = change(site, device, {"cameras": {"belt": {"fps": 3}}})
    reply = site.end_of(command)
    assert (reply.status, reply.data) == (ReplyStatus.SUCCEEDED, {"changed": True})
    assert statuses(site, device, command)[:2] == [ReplyStatus.ACCEPTED, ReplyStatus.RUNNING]
    assert record(device).kept == {"cameras": {"belt": {"fps": 3}}}
    assert device.pid == pid, "it began anew in the same process"
    until(lambda: is_slow(device), 30, "the camera is slower")
    same = site.end_of(change(site, device, {"cameras": {"belt": {"fps": 3}}}))
    assert same.data == {"changed": False}
    assert device.config.read_text() == file


def test_a_change_that_costs_the_link_or_the_start_is_undone(site: Site) -> None:
    device = site.serving("cutoff")
    lost = change(site, device, {"broker": {"port": 9}}, "set-config-protected", SOON_S)
    reply = site.end_of(lost, timeout_s=90)
    assert (reply.status, reply.code) == (ReplyStatus.FAILED, "config.no_link")
    assert record(device).kept == {}
    dead = change(site, device, {"console": {"token_file": "nothing"}}, "set-config-protected")
    reply = site.end_of(dead, timeout_s=90)
    assert reply.status is ReplyStatus.FAILED, "an agent that does not even start goes back, too"
    assert record(device).kept == {}


def test_killed_on_trial_it_goes_on_with_it_and_killed_too_often_it_goes_back(
    site: Site,
) -> None:
    device = site.serving("cursed")
    once = change(site, device, {"detect": {"iou": 0.45}})
    until(lambda: is_on_trial(device), 30, "the change is on trial")
    device.kill()
    device.start()
    assert site.end_of(once).status is ReplyStatus.SUCCEEDED
    twice = change(site, device, {"detect": {"iou": 0.5}})
    for count in (1, 2):
        until(partial(is_on_trial, device, tries=count), 30, f"start {count} is counted")
        device.kill()
        device.start()
    reply = site.end_of(twice)
    assert (reply.status, reply.code) == (ReplyStatus.FAILED, "config.crash_loop")
    assert record(device).kept == {"detect": {"iou": 0.45}}


def test_during_an_update_settings_wait_and_the_other_way_round(site: Site) -> None:
    device = site.running("busy", update={**QUICK, "trial_timeout_s": 30.0})
    site.hold("1.0.0")
    deploy = site.deploy(device, site.release("1.0.0"))
    until(lambda: ReplyStatus.RUNNING in statuses(site, device, deploy), 30, "it downloads")
    busy = site.end_of(change(site, device, {"detect": {"iou": 0.4}}))
    assert (busy.status, busy.code) == (ReplyStatus.FAILED, "command.busy")
    site.unhold()
    assert site.end_of(deploy).status is ReplyStatus.SUCCEEDED
    tried = change(site, device, {"detect": {"iou": 0.4}})
    until(lambda: is_on_trial(device), 30, "the change is on trial")
    waits = site.end_of(site.deploy(device, site.release("1.0.0")))
    assert (waits.status, waits.code) == (ReplyStatus.FAILED, "command.busy")
    assert site.end_of(tried).status is ReplyStatus.SUCCEEDED
