"""`scripts/provision.sh` in a clean Debian with a real systemd: cut off at every step, repeated, then a device."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import TrustError
from agent.fleet.bundle import read_terms
from agent.fleet.enrolment import admit
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
    new_stick,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


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
    environment = machine.run("cat", f"/proc/{before}/environ").stdout
    assert "VIGIL_SLOT=a" in environment.split("\0"), "the launcher did not start it"


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

    # Read as a file: in a container the service, which has a /proc of its own, sees another boot id than `vigil status`.
    def status() -> Status:
        return parse_json(machine.run("cat", "/run/vigil/status.json").stdout.encode(), Status)

    until(lambda: status().telemetry.fps > 0, 60, "frames are counted", every_s=1.0)
    assert status().state.release == "sorters/parts/1.0.0"
    assert [camera.name for camera in status().telemetry.cameras] == ["belt"]


def test_an_invitation_for_another_device_is_refused(
    machine: Machine, provisioned: Provisioned
) -> None:
    new_stick(provisioned.site, machine.root / "srv/other", "other")
    done = machine.run(SCRIPT, "--wheels", "/srv/wheels", "--bundle", "/srv/other")
    assert done.returncode == 78
    assert f"invites other, but this device is {DEVICE}" in done.stdout
    assert DEVICE in (machine.root / "etc/vigil/vigil.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("invitation.json", "{}", "cannot be used"),
        ("device.crt", "no certificate", "cannot join"),
    ],
)
def test_a_wrong_bundle_is_refused_and_the_right_one_still_works(
    machine: Machine, provisioned: Provisioned, name: str, content: str, words: str
) -> None:
    forget_identity(machine)
    bundle = new_stick(provisioned.site, machine.root / "srv/wrong", f"new-{Path(name).stem}")
    right = (bundle / name).read_bytes() if (bundle / name).exists() else b""
    assert machine.run(SCRIPT, "--bundle", "/srv/wrong").returncode == 75
    (bundle / name).write_text(content)
    done = machine.run(SCRIPT, "--bundle", "/srv/wrong")
    assert done.returncode == 78, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if right:
        (bundle / name).write_bytes(right)
    else:
        (bundle / name).unlink()
        admit(bundle, provisioned.site.fleet.registry, provisioned.site.fleet.authority)
    assert machine.run(SCRIPT, "--bundle", "/srv/wrong").returncode in {0, 75}


def test_a_used_token_admits_nobody_and_the_device_goes_on_waiting(
    machine: Machine, provisioned: Provisioned
) -> None:
    forget_identity(machine)
    bundle = machine.root / "srv/used"
    shutil.copytree(provisioned.stick, bundle)
    (bundle / "device.crt").unlink()
    done = machine.run(SCRIPT, "--bundle", "/srv/used")
    assert done.returncode == 75
    fleet = provisioned.site.fleet
    with pytest.raises(TrustError, match="token"):
        admit(bundle, fleet.registry, fleet.authority)
    assert machine.run(SCRIPT, "--bundle", "/srv/used").returncode == 75


def forget_identity(machine: Machine) -> None:
    """A machine with the software and without an identity, as an image is."""
    shutil.rmtree(machine.root / "etc/vigil")
    (machine.root / "etc/vigil").mkdir()
    shutil.rmtree(machine.root / "etc/credstore.encrypted", ignore_errors=True)
    (machine.root / "var/lib/vigil-provision/pending").touch()


def test_an_image_makes_its_identity_at_the_first_boot(
    machine: Machine, provisioned: Provisioned
) -> None:
    forget_identity(machine)
    baked = machine.run(SCRIPT, "--image", "--wheels", "/srv/wheels")
    assert baked.returncode == 0, baked.stdout + baked.stderr
    assert "The image is ready, without an identity" in baked.stdout
    bundle = new_stick(provisioned.site, machine.root / "etc/vigil/bundle", "first-boot")
    machine.boot()
    until((bundle / "request.json").exists, 60, "the first boot made keys and a request")
    assert (machine.root / "etc/credstore.encrypted/vigil-device-key").exists()
    admit(bundle, provisioned.site.fleet.registry, provisioned.site.fleet.authority)
    machine.run("systemctl", "restart", "vigil-provision")  # a minute later by itself
    until(lambda: machine.show("vigil.service", "ActiveState") == "active", 60, "the service runs")
    assert not (machine.root / "var/lib/vigil-provision/pending").exists()


def test_it_can_be_removed_with_and_without_what_it_kept(machine: Machine) -> None:
    machine.boot()
    asked = machine.run(SCRIPT, "--uninstall")
    assert asked.returncode == 78
    assert "--yes" in asked.stderr
    done = machine.run(SCRIPT, "--uninstall", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (machine.root / "opt/vigil").exists()
    assert not list((machine.root / "etc/systemd/system").rglob("vigil*"))
    assert (machine.root / "etc/vigil/vigil.yaml").exists()
    assert machine.run(SCRIPT, "--uninstall", "--purge", "--yes").returncode == 0
    for path in ("etc/vigil", "var/lib/vigil", "var/log/vigil-provision.log"):
        assert not (machine.root / path).exists()
    assert machine.run("id", "vigil").returncode != 0
