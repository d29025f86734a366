"""`scripts/provision.sh` in a clean Debian with a real systemd: cut off at every step, repeated, then a device."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.demo.fleet import DEVICE_CLASS
from agent.errors import TrustError
from agent.fleet.bundle import read_terms
from agent.fleet.enrolment import Site, admit, invite
from agent.fleet.home import open_home
from agent.fleet.tokens import Invitation
from agent.host.ports import free_port
from agent.schema.document import parse_json
from agent.telemetry.status_file import Status
from tests.parts.guides import lines
from tests.parts.nspawn import ROOT, Machine
from tests.parts.processes import served, until, vigil
from tests.parts.provisioned import (
    CUTS,
    DEVICE,
    OPTIONS,
    PROTOCOL,
    SCRIPT,
    Provisioned,
    copy_of,
    new_stick,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def machine(provisioned: Provisioned, tmp_path: Path) -> Iterator[Machine]:
    """A machine that is not booted: provisioning runs in a container over its disk."""
    copy = copy_of(provisioned, tmp_path / "machine")
    yield copy
    copy.destroy()


@pytest.fixture(scope="module")
def booted(provisioned: Provisioned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One device that runs, for every test that looks at one; the last of them removes the agent."""
    copy = copy_of(provisioned, tmp_path_factory.mktemp("booted") / "machine")
    copy.boot()
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


def test_run_again_it_changes_nothing_and_the_service_runs_on(booted: Machine) -> None:
    until(lambda: booted.show("vigil.service", "ActiveState") == "active", 60, "the service runs")
    assert booted.run(SCRIPT, *OPTIONS).returncode == 0
    before = booted.show("vigil.service", "MainPID")
    again = booted.run(SCRIPT, *OPTIONS)
    assert again.returncode == 0, again.stdout
    steps = [line for line in again.stdout.splitlines() if line.startswith("== ")]
    assert [line for line in steps if "already done" not in line] == [
        "== check: this machine suits"
    ]
    assert booted.show("vigil.service", "MainPID") == before
    environment = booted.run("cat", f"/proc/{before}/environ").stdout
    assert "VIGIL_SLOT=a" in environment.split("\0"), "the launcher did not start it"


def test_the_device_detects_on_its_video_and_takes_a_release(
    booted: Machine, provisioned: Provisioned
) -> None:
    site = provisioned.site
    inbox = site.fleet.controller.inbox
    inbox.wait_state(DEVICE, lambda state: state.online and state.policy_ver > 0, 90)
    command = site.fleet.deploy(site.release("1.0.0"), DEVICE)
    reply = inbox.wait_reply(command.id, 120)
    assert reply.status.value == "succeeded", reply

    # Read as a file: in a container the service, which has a /proc of its own, sees another boot id than `vigil status`.
    def detects() -> bool:
        text = booted.run("cat", "/run/vigil/status.json").stdout
        told = parse_json(text.encode(), Status)
        cameras = [camera.name for camera in told.telemetry.cameras]
        is_new = told.state.release == "sorters/parts/1.0.0"
        return is_new and cameras == ["belt"] and told.telemetry.fps > 0

    until(detects, 60, "frames of the camera are counted", every_s=1.0)


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


def test_with_an_enrolment_port_the_controller_is_asked_at_once_and_again_when_it_was_away(
    machine: Machine, provisioned: Provisioned, tmp_path: Path
) -> None:
    home, bundle = tmp_path / "controller", machine.root / "srv/online"
    place = (
        "--repository",
        str(provisioned.site.fleet.folder / "repository"),
        "--host",
        "127.0.0.1",
    )
    ports = ("--port", str(free_port()), "--enrol-port", str(free_port()))
    assert vigil("fleet", "init", str(home), *place, *ports).returncode == 0
    invitation = ("online", "--class", DEVICE_CLASS, "--out", str(bundle))
    assert vigil("fleet", "enrol-token", str(home), *invitation).returncode == 0
    stolen = shutil.copytree(bundle, machine.root / "srv/stolen")
    forget_identity(machine)
    arguments = record_arguments(machine)

    away = machine.run(SCRIPT, "--bundle", "/srv/online")
    assert away.returncode == 75, away.stdout + away.stderr
    assert "the controller cannot be reached" in away.stdout
    pending = machine.root / "var/lib/vigil-provision/pending"
    assert pending.read_text() == "the controller cannot be reached\n"
    with served(home, "--embedded-broker", ready="devices enrol at"):
        resumed = machine.run(SCRIPT, "--resume")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        assert "joined as online" in resumed.stdout
        assert not pending.exists()
        forget_identity(machine)
        used = machine.run(SCRIPT, "--bundle", "/srv/stolen")
        assert used.returncode == 78, used.stdout + used.stderr
        assert "used up" in used.stdout
        expire(home, machine.root / "srv/late", provisioned)
        late = machine.run(SCRIPT, "--bundle", "/srv/late")
        assert late.returncode == 78, late.stdout + late.stderr
        assert "expired" in late.stdout
        assert not (machine.root / "etc/vigil/vigil.yaml").exists()
    log = (machine.root / "var/log/vigil-provision.log").read_text()
    assert "enroll --bundle /srv/online" in arguments.read_text()
    for told in (log, arguments.read_text(), away.stdout, resumed.stdout, used.stdout):
        assert read_terms(stolen).token not in told


def record_arguments(machine: Machine) -> Path:
    """Let the machine's `vigil` note what it is called with; return where."""
    program = machine.root / "opt/vigil/bin/vigil"
    shebang, _, rest = program.read_text().partition("\n")
    program.write_text(f'{shebang}\necho "$@" >>/srv/arguments\n{rest}')
    return machine.root / "srv/arguments"


def expire(home: Path, bundle: Path, provisioned: Provisioned) -> None:
    """Invite a device whose token is over at once."""
    opened = open_home(home)
    config = opened.config
    root = provisioned.site.fleet.repository.root_bytes
    site = Site("127.0.0.1", config.broker_port, root, enrol_port=config.enrol_port)
    late = Invitation("late", DEVICE_CLASS, ())
    life = timedelta(milliseconds=1)
    invite(bundle, opened.registry, opened.authority, late, site, life=life)
    opened.registry.close()


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
    done = machine.run("systemctl", "restart", "vigil-provision")  # a minute later by itself
    assert done.returncode == 0, machine.journal("vigil-provision")
    until(lambda: machine.show("vigil.service", "ActiveState") == "active", 60, "the service runs")
    assert not (machine.root / "var/lib/vigil-provision/pending").exists()


def test_a_device_that_was_enrolled_by_hand_moves_in_as_the_guide_says(
    machine: Machine, provisioned: Provisioned
) -> None:
    forget_identity(machine)
    site, bundle = provisioned.site, "/srv/by-hand"
    invitation = new_stick(site, machine.root / bundle[1:], "by-hand")
    enroll = ("vigil", "enroll", "--bundle", bundle, "--folder", "/srv/device")
    assert machine.run(*enroll, "--key-store", "file").returncode == 0
    admit(invitation, site.fleet.registry, site.fleet.authority)
    assert machine.run(*enroll).returncode == 0
    config = machine.root / "srv/device/vigil.yaml"
    text = config.read_text().replace("  host:", f"{PROTOCOL}  host:")
    config.write_text(text + "state_dir: state\nruntime_dir: run\n")

    guide = [line.text for line in lines(ROOT / "docs/first-device.md")]
    moving = guide[guide.index("sudo scripts/provision.sh --image") :][:6]
    script = "\n".join(line.removeprefix("sudo ") for line in moving)
    done = machine.run("env", "HOME=/srv", "bash", "-euxc", f"cd /srv/vigil && {script}")
    assert done.returncode == 0, done.stdout + done.stderr
    machine.boot()
    site.fleet.controller.inbox.wait_state("by-hand", lambda state: state.online, 90)


def test_it_can_be_removed_with_and_without_what_it_kept(booted: Machine) -> None:
    asked = booted.run(SCRIPT, "--uninstall")
    assert asked.returncode == 78
    assert "--yes" in asked.stderr
    done = booted.run(SCRIPT, "--uninstall", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (booted.root / "opt/vigil").exists()
    assert not list((booted.root / "etc/systemd/system").rglob("vigil*"))
    assert (booted.root / "etc/vigil/vigil.yaml").exists()
    assert booted.run(SCRIPT, "--uninstall", "--purge", "--yes").returncode == 0
    for path in ("etc/vigil", "var/lib/vigil", "var/log/vigil-provision.log"):
        assert not (booted.root / path).exists()
    assert booted.run("id", "vigil").returncode != 0
