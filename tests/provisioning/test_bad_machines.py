"""Machines that do not suit are refused in plain words and left as they were; what can wait, waits.

Nothing here is booted: each case is a container over the same root file system, spoilt in one way.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import nspawn
from tests.parts.nspawn import Machine
from tests.parts.processes import until
from tests.parts.provisioned import LOCK, SCRIPT, WHEELS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEMPFAIL, CONFIG = 75, 78


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if why := nspawn.missing():
        pytest.skip(why)
    binds = {nspawn.ROOT: "/srv/vigil", nspawn.wheelhouse(): WHEELS}
    machine = Machine(tmp_path / "machine", [nspawn.base_system()], binds)
    yield machine
    machine.destroy()


def program(machine: Machine, name: str, body: str) -> None:
    """Put a program before the system's own: this is how the world is spoilt."""
    path = machine.root / "usr/local/bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def provision(machine: Machine, *options: str) -> subprocess.CompletedProcess[str]:
    done = machine.run(SCRIPT, *options)
    assert "Traceback" not in done.stderr
    return done


def is_untouched(machine: Machine) -> bool:
    return not any(
        (machine.root / path).exists() for path in ("opt/vigil", "etc/vigil", "var/lib/vigil")
    )


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("ID=debian\nVERSION_ID=11", "too old"),
        ("ID=raspbian\nVERSION_ID=10", "too old"),
        ("ID=ubuntu\nVERSION_ID=20.04", "too old"),
        ("ID=debian\nVERSION_ID=14", "newer than anything"),
        ("ID=ubuntu\nVERSION_ID=26.04", "newer than anything"),
        ("ID=fedora\nVERSION_ID=43", "not Debian, Raspberry Pi OS or Ubuntu"),
    ],
)
def test_other_systems_are_refused(machine: Machine, release: str, words: str) -> None:
    (machine.root / "etc/os-release").unlink()
    (machine.root / "etc/os-release").write_text(release + "\n")
    done = provision(machine)
    assert done.returncode == CONFIG
    assert words in done.stderr
    assert is_untouched(machine)


def test_32_bits_are_refused(machine: Machine) -> None:
    program(machine, "getconf", "echo 32")
    done = provision(machine)
    assert done.returncode == CONFIG
    assert "32-bit" in done.stderr
    assert "64-bit image" in done.stderr


def test_another_python_is_refused(machine: Machine) -> None:
    program(machine, "python3", "echo 3.9")
    done = provision(machine)
    assert done.returncode == CONFIG
    assert "python3 is 3.9" in done.stderr


@pytest.mark.parametrize(("year", "status"), [("1970-01-01", TEMPFAIL), ("2099-01-01", CONFIG)])
def test_a_wrong_clock_is_named(machine: Machine, year: str, status: int) -> None:
    program(
        machine,
        "date",
        f'case "$*" in *-d*) ;; *) set -- -d {year} "$@" ;; esac\nexec /bin/date "$@"',
    )
    program(machine, "sleep", ":")
    done = provision(machine)
    assert done.returncode == status
    assert f"the clock is wrong: it says {year}" in done.stderr
    assert is_untouched(machine)


def test_a_read_only_root_is_named_with_its_remedy(machine: Machine) -> None:
    done = machine.run_confined("--read-only", command=[SCRIPT])
    assert done.returncode == CONFIG
    assert "is read-only" in done.stderr + done.stdout
    assert "disable_overlayfs" in done.stderr + done.stdout


def test_too_little_room_is_said_before_anything_is_done(machine: Machine) -> None:
    done = machine.run_confined("--tmpfs=/opt:size=100M", command=[SCRIPT])
    assert done.returncode == CONFIG
    assert "too little room" in done.stderr + done.stdout
    assert not (machine.root / "etc/vigil").exists()


def test_a_disk_that_fills_up_midway_is_named(machine: Machine) -> None:
    # As many MiB as are wanted, but no room for that many files.
    room = "--tmpfs=/opt:size=2G,nr_inodes=1200"
    done = machine.run_confined(room, command=[SCRIPT, "--wheels", WHEELS])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the disk is full" in done.stderr + done.stdout
    assert not (machine.root / "usr/local/bin/vigil").exists()


def test_without_a_network_it_does_what_it_can_and_goes_on_later(machine: Machine) -> None:
    (machine.root / "etc/pip.conf").write_text("[global]\nretries = 0\ntimeout = 2\n")
    done = machine.run_confined("--private-network", command=[SCRIPT])
    assert done.returncode == TEMPFAIL, done.stdout
    assert "is there a network" in done.stdout
    assert "vigil:" in (machine.root / "etc/passwd").read_text()
    assert (machine.root / "var/lib/vigil-provision/pending").exists()
    wants = machine.root / "etc/systemd/system/multi-user.target.wants"
    assert (wants / "vigil-provision.service").is_symlink()
    # At the next boot systemd goes on by itself.
    machine.boot()
    until(lambda: "== environment" in machine.journal("vigil-provision"), 60, "it goes on")


def test_two_at_once_are_one_too_many(machine: Machine) -> None:
    machine.boot()
    holder = machine.popen("flock", LOCK, "sleep", "infinity")
    until(lambda: machine.run("flock", "-n", LOCK, "true").returncode, 30, "the lock is held")
    done = provision(machine)
    assert done.returncode == TEMPFAIL
    assert "another provisioning is running" in done.stderr
    assert is_untouched(machine)
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()


def test_without_root_it_says_so(machine: Machine) -> None:
    done = machine.run("setpriv", "--reuid=65534", "--clear-groups", SCRIPT)
    assert done.returncode == CONFIG
    assert "needs root" in done.stderr


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    done = provision(machine, "--dry-run")
    assert done.returncode == 0
    assert "nothing was changed" in done.stdout
    assert is_untouched(machine)
    assert not (machine.root / "var/log/vigil-provision.log").exists()


def test_a_changed_release_folder_is_refused(machine: Machine, tmp_path: Path) -> None:
    folder = machine.root / "srv/release"
    folder.mkdir(parents=True)
    (folder / "requirements.lock").write_text("")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  requirements.lock\n")
    done = provision(machine, "--source", "/srv/release")
    assert done.returncode == CONFIG
    assert "not what its SHA256SUMS says" in done.stderr
    assert is_untouched(machine)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--colour",), "unknown option --colour"),
        (("--yes=no",), "unknown option --yes=no"),
        (("--bundle",), "--bundle needs a value"),
        (("--bundle", ""), "--bundle needs a value"),
        (("--source", "/nowhere"), "/nowhere has no requirements.lock"),
        (("--wheels", "/nowhere"), "there is no folder /nowhere"),
        (("--cameras", "/nowhere.yaml"), "/nowhere.yaml cannot be read"),
        (("--bundle", "/nowhere"), "/nowhere holds no invitation.json"),
        (("--key-store", "tmp2"), "found tmp2"),
        (("--key-option", "pin"), "found pin"),
        (("--purge",), "--purge goes with --uninstall only"),
    ],
)
def test_wrong_options_are_named(machine: Machine, options: tuple[str, ...], words: str) -> None:
    for form in {options, ("=".join(options),)}:
        done = provision(machine, *form)
        assert done.returncode == CONFIG
        assert words in done.stderr
        assert is_untouched(machine)


def test_a_value_behind_an_equals_sign_may_hold_another(machine: Machine) -> None:
    done = provision(machine, "--dry-run", "--key-store=pkcs11", "--key-option=pin=a=b", "--yes")
    assert done.returncode == 0, done.stderr
