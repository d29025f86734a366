"""Stopping is no crime: SIGTERM in the middle of an update ends the agent cleanly and blames no release."""

import signal
from pathlib import Path

import pytest

from agent.schema.messages import Phase, ReplyStatus
from tests.parts.processes import children, is_alive, until
from tests.parts.site import QUICK, SLOW_PROBATION, SLOW_TRIAL, Device, Site

STOP_S = 60.0  # trial and probation would take an hour


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_trial_that_hangs_blames_nobody(
    site: Site, hold: Path, number: signal.Signals
) -> None:
    device = site.serving(f"trial-{number.name.lower()}", update=SLOW_TRIAL)
    hold.touch()
    command = site.deploy(device, site.release("2.0.0"))
    device.wait_held()
    assert stop(device, number) == 0
    assert (device.journal.phase, device.journal.bad) == (Phase.TRIAL, {})

    hold.unlink()
    device.start()
    assert site.end_of(command).status is ReplyStatus.SUCCEEDED
    assert site.wait(device, lambda state: state.floor == 2).phase is Phase.COMMITTED


def test_a_signal_on_probation_blames_nobody(site: Site) -> None:
    device = site.serving("probation-term")
    device.stop()
    device.configure(update=SLOW_PROBATION)
    device.start()
    site.wait_ready(device)
    command = site.deploy(device, site.release("2.0.0"))
    site.wait(device, lambda state: state.phase is Phase.PROBATION)
    assert stop(device, signal.SIGTERM) == 0
    assert (device.journal.phase, device.journal.bad) == (Phase.PROBATION, {})

    device.configure(update=QUICK)
    device.start()
    assert site.end_of(command).status is ReplyStatus.SUCCEEDED


def test_a_signal_while_downloading_keeps_what_has_come(site: Site) -> None:
    device = site.serving("download-term")
    release = site.release("2.0.0")
    road = site.hold(".sealed")
    command = site.deploy(device, release)
    until(road.held.is_set, 30, "the download has begun")
    assert stop(device, signal.SIGTERM) == 0
    assert (device.journal.phase, device.journal.bad) == (Phase.DOWNLOADING, {})

    site.unhold()
    device.start()
    assert site.end_of(command).status is ReplyStatus.SUCCEEDED


def stop(device: Device, number: signal.Signals) -> int:
    """Send the signal, wait for a clean end in time and nobody left; return the exit status."""
    family = children(device.pid)
    device.signal(number)
    status = device.wait(STOP_S)
    assert not any(is_alive(pid) for pid in family)
    assert "Traceback" not in device.log_text
    return status
