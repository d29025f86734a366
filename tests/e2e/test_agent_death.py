"""kill -9 of the agent in each phase of an update: the right model runs again, and the update goes on."""

import shutil
from pathlib import Path

import pytest

from agent.schema.messages import Phase, ReplyStatus
from tests.parts.processes import until
from tests.parts.site import QUICK, SLOW_PROBATION, SLOW_TRIAL, Device, Site

OLD, NEW, NEXT = (f"sorters/parts/{version}" for version in ("1.0.0", "2.0.0", "3.0.0"))
JOURNAL_WRITE = {"staged": 3, "verified": 4}  # the write that replaces the phase
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


def test_killed_while_downloading_it_serves_the_old_model_and_finishes(site: Site) -> None:
    device = site.serving("cut-downloading")
    new = site.release("2.0.0")
    road = site.hold(".sealed")
    command = site.deploy(device, new)
    until(road.held.is_set, 30, "the download has begun")
    device.kill()
    assert device.journal.phase is Phase.DOWNLOADING

    device.start()
    site.wait(device, lambda state: state.release == OLD and state.phase is Phase.DOWNLOADING)
    site.unhold()
    assert_it_finishes(site, device, command.id)


@needs_strace
@pytest.mark.parametrize("phase", ["staged", "verified"])
def test_killed_while_staged_or_verified_it_finishes(site: Site, phase: str) -> None:
    device = site.serving(f"cut-{phase}")
    new = site.release("2.0.0")
    device.stop()
    device.start(under=killing_at_journal_write(device, JOURNAL_WRITE[phase]))
    site.wait_ready(device)
    command = site.deploy(device, new)
    device.wait()
    assert device.journal.phase.value == phase

    device.start()
    assert_it_finishes(site, device, command.id)


def test_killed_during_the_trial_it_finishes(site: Site, hold: Path) -> None:
    device = site.serving("cut-trial", update=SLOW_TRIAL)
    hold.touch()
    command = site.deploy(device, site.release("2.0.0"))
    device.wait_held()
    device.kill()
    assert device.journal.phase is Phase.TRIAL

    hold.unlink()
    device.start()
    assert_it_finishes(site, device, command.id)


def test_killed_on_probation_it_serves_the_new_model_and_watches_it_again(site: Site) -> None:
    device = site.serving("cut-probation")
    new = site.release("2.0.0")
    device.stop()
    device.configure(update=SLOW_PROBATION)
    device.start()
    site.wait_ready(device)
    command = site.deploy(device, new)
    site.wait(device, lambda state: state.release == NEW)
    device.kill()
    assert device.journal.phase is Phase.PROBATION

    device.configure(update=QUICK)
    device.start()
    state = site.wait(device, lambda state: bool(state.release))
    assert state.release == NEW
    assert_it_finishes(site, device, command.id)


@needs_strace
def test_a_command_that_was_cut_before_it_began_is_reported_as_interrupted(site: Site) -> None:
    device = site.serving("cut-early")
    new = site.release("2.0.0")
    device.stop()
    device.start(under=killing_at_journal_write(device, 1))
    site.wait_ready(device)
    command = site.deploy(device, new)
    device.wait()

    device.start()
    reply = site.end_of(command)
    assert (reply.status, reply.code) == (ReplyStatus.FAILED, "command.interrupted")
    state = site.wait(device, lambda state: state.release is not None)
    assert state.release == OLD
    assert site.install(device, new).status is ReplyStatus.SUCCEEDED


def killing_at_journal_write(device: Device, number: int) -> list[str]:
    """Run a command so that it is killed where its updater is about to put that record in force."""
    # strace compares the first path of a rename only, so it is the temporary file that it must watch.
    slots = [device.folder / "state" / f".update.{slot}.json.tmp" for slot in "ab"]
    renames = "rename,renameat,renameat2"
    return [
        "strace", "-D", "-f", "-qq", "-o", "/dev/null",
        *(word for slot in slots for word in ("-P", str(slot))),
        "-e", f"trace={renames}",
        "-e", f"inject={renames}:signal=KILL:when={number}",
    ]  # fmt: skip


def assert_it_finishes(site: Site, device: Device, command_id: str) -> None:
    """The interrupted update commits under its own command, and the next one works."""
    inbox = site.fleet.controller.inbox
    reply = inbox.wait_reply(command_id, 90)
    assert (reply.status, reply.code) == (ReplyStatus.SUCCEEDED, "")
    state = site.wait(device, lambda state: state.phase is Phase.COMMITTED)
    assert (state.release, state.floor, state.pipeline) == (NEW, 2, "running")
    journal = device.journal
    assert (journal.phase, journal.candidate, journal.tries) == (Phase.COMMITTED, None, 0)
    assert journal.current is not None
    assert journal.current.counter == 2
    assert journal.bad == {}
    assert site.install(device, site.release("3.0.0")).status is ReplyStatus.SUCCEEDED
    assert site.wait(device, lambda state: state.floor == 3).release == NEXT
