"""`scripts/provision.sh` in a clean Debian with a real systemd: cut off at every step, repeated, then a device."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.fleet.enrolment import read_terms
from agent.schema.document import parse_json
from agent.telemetry.status_file import Status
from tests.parts.nspawn import Machine
from tests.parts.processes import until
from tests.parts.provisioned import (
    CUTS,
    DEVICE,
    OPTIONS,
    SCRIPT,
    Provisioned,
    copy_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def machine(provisioned: Provisioned, tmp_path: Path) -> Iterator[Machine]:
    copy = copy_of(provisioned, tmp_path / "machine")
    yield copy
    copy.destroy()


def test_every_step_is_cut_off_once_and_the_end_is_a_device(provisioned: Provisioned) -> None:
    assert tuple(provisioned.cuts) == CUTS
    said, status = provisioned.waited
    assert status == 75
    assert f"{DEVICE} waits to be admitted" in said
    assert "vigil fleet admit" in said
    for words in (
        "This is a Vigil device",
        f"device    {DEVICE}",
        "page      http://127.0.0.1:",
        "next ",
    ):
        assert words in provisioned.told


def test_no_secret_is_in_the_log_or_readable_by_others(
    machine: Machine, provisioned: Provisioned
) -> None:
    token = read_terms(provisioned.stick).token
    log = machine.root / "var/log/vigil-provision.log"
    assert token not in log.read_text()
    assert "PRIVATE KEY" not in log.read_text()
    for path in (
        log,
        machine.root / "etc/vigil/identity/tls.key",
        machine.root / "etc/credstore.encrypted",
    ):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert token not in (machine.root / "var/lib/vigil-provision/options").read_text()


def test_run_again_it_changes_nothing_and_the_service_runs_on(machine: Machine) -> None:
    machine.boot()
    until(lambda: machine.show("vigil.service", "ActiveState") == "active", 60, "the service runs")
    assert machine.run(SCRIPT, *OPTIONS).returncode == 0
    before = machine.show("vigil.service", "MainPID")
    again = machine.run(SCRIPT, *OPTIONS)
    assert again.returncode == 0, again.stdout
    steps = [line for line in again.stdout.splitlines() if line.startswith("== ")]
    assert [line for line in steps if "already done" not in line] == [
        "== check: this machine suits"
    ]
    assert machine.show("vigil.service", "MainPID") == before


def test_the_device_detects_on_its_video_and_takes_a_release(
    machine: Machine, provisioned: Provisioned
) -> None:
    machine.boot()
    site = provisioned.site
    inbox = site.fleet.controller.inbox
    inbox.wait_state(DEVICE, lambda state: state.online and state.policy_ver > 0, 90)
    command = site.fleet.deploy(site.release("1.0.0"), DEVICE)
    reply = inbox.wait_reply(command.id, 120)
    assert reply.status.value == "succeeded", reply

    def fps() -> float:
        shown = machine.run("vigil", "status", "--json")
        return parse_json(shown.stdout.encode(), Status).telemetry.fps if shown.stdout else 0.0

    until(lambda: fps() > 0, 60, "frames are counted")
    shown = machine.run("vigil", "status").stdout
    for fact in ("sorters/parts/1.0.0", "committed", "belt"):
        assert fact in shown, shown
