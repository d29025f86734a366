"""A device that `scripts/provision.sh` made in a clean Debian, with every step cut off once and repeated.

It is made once for all tests that want a provisioned machine; they work on copies of its disk.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.demo.fleet import DEVICE_CLASS
from agent.fleet.enrolment import Site as FleetSite
from agent.fleet.enrolment import admit, invite
from agent.fleet.tokens import Invitation
from agent.host.ports import free_port
from tests.parts import nspawn
from tests.parts.nspawn import Machine
from tests.parts.site import Site

SCRIPT, LOCK = "/srv/vigil/scripts/provision.sh", "/run/lock/vigil-provision.lock"
STICK, WHEELS, CAMERAS = "/srv/stick", "/srv/wheels", "/srv/stick/cameras.yaml"
DEVICE = "boxed"
VIDEO = "/opt/vigil/current/lib/python3.11/site-packages/agent/demo/bundled/conveyor.mp4"
OPTIONS = ("--wheels", WHEELS, "--bundle", STICK, "--cameras", CAMERAS)
PROTOCOL = "  protocol: 3.1.1\n"  # the embedded broker speaks nothing newer
# A step is cut off when it says this.
CUTS = (
    "== keep",
    "== account",
    "== units",
    "== environment",
    "   installing what",
    "== enrol",
    "   invited as",
    "== configure",
    "== access",
    "== start",
)
# The script as a shell runs it that kills itself before it says anything after CUT_WORDS: no step ends because the test came late.
GUARDED = r"""
cut_words=$1 is_cut=no
shift
printf() {
    if [ "$1" = '%s\n' ]; then # what it says; its log is written in another format
        [ "$is_cut" = no ] || kill -KILL 0
        case $2 in *"already done"*) ;; "$cut_words"*) is_cut=yes ;; esac
    fi
    command printf "$@"
}
. "$0"
"""


@dataclass
class Provisioned:
    """What came of it.

    Attributes:
        layers: Its disk, for machines that begin where this one ended.
        cuts: Where it was cut off.
        waited: What the run before the admission said, and its exit status.
        told: What the last run said.
    """

    site: Site
    stick: Path
    layers: list[Path]
    binds: dict[Path, str]
    cuts: list[str] = field(default_factory=list)
    waited: tuple[str, int] = ("", 0)
    told: str = ""


def cut_at(machine: Machine, words: str, *options: str) -> tuple[str, int | None]:
    """Provision until a line begins with `words`, then kill everything at once; what was said, and the status."""
    process = machine.popen("sh", "-c", GUARDED, SCRIPT, words, *options)
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(words) and "already done" not in line:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            machine.run("flock", LOCK, "true")  # its children, killed too, may end a little later
            return "".join(said), None
    return "".join(said), process.wait()


def new_stick(site: Site, folder: Path, device: str = DEVICE) -> Path:
    """An invitation on a stick, with the cameras' file beside it."""
    invite(
        folder,
        site.fleet.registry,
        site.fleet.authority,
        Invitation(device, DEVICE_CLASS, ()),
        FleetSite("127.0.0.1", site.fleet.broker.port, site.fleet.repository.root_bytes),
    )
    (folder / "cameras.yaml").write_text(f"cameras:\n  - {{name: belt, source: {VIDEO}}}\n")
    return folder


@pytest.fixture(scope="session")
def provisioned(
    session_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Provisioned]:
    """The device, enrolled with the tests' fleet and stopped."""
    if why := nspawn.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("provisioned")
    stick = new_stick(session_site, folder / "stick")
    binds = {
        nspawn.ROOT: "/srv/vigil",
        nspawn.wheelhouse(): WHEELS,
        stick: f"{STICK}:rw",
    }
    base = nspawn.base_system()
    machine = Machine(folder / "machine", [base], binds)
    try:
        machine.boot()
        made = Provisioned(session_site, stick, [machine.disk, base], binds)
        _provision(machine, made)
        _quicken(machine)
        machine.power_off()
        yield made
    finally:
        machine.destroy()
        shutil.rmtree(folder, ignore_errors=True)


def _provision(machine: Machine, made: Provisioned) -> None:
    for words in CUTS:
        said, status = cut_at(machine, words, *OPTIONS)
        if status == 75 and "waits to be admitted" in said:
            made.waited = (said, status)
            admit(made.stick, made.site.fleet.registry, made.site.fleet.authority)
            said, status = cut_at(machine, words, *OPTIONS)
        assert status is None, f"not cut at {words!r}: {status} {said}"
        made.cuts.append(words)
    done = machine.run(SCRIPT, *OPTIONS)
    assert done.returncode == 0, done.stdout + done.stderr
    made.told = done.stdout


def _quicken(machine: Machine) -> None:
    """Tests wait less, and each test's machine has a page of its own."""
    path = machine.root / "etc/vigil/vigil.yaml"
    path.write_text(path.read_text().replace("  host:", f"{PROTOCOL}  host:") + _QUICK)


_QUICK = """\
telemetry: {interval_s: 1.0}
update:
  probation: {seconds: 1.0, frames: 5, max_p95_ms: 5000.0}
  agent: {health_s: 1.0, deadline_s: 60.0, ready_s: 60.0, silence_s: 60.0}
"""


def copy_of(made: Provisioned, folder: Path) -> Machine:
    """A machine that begins where provisioning ended; its page has a free port."""
    machine = Machine(folder, made.layers, made.binds)
    path = machine.root / "etc/vigil/vigil.yaml"
    path.write_text(f"{path.read_text()}console: {{port: {free_port()}}}\n")
    return machine
