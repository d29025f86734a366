"""A small Debian machine with a real systemd, in systemd-nspawn, whose disk is thrown away afterwards.

The root file system is made once by mmdebstrap and kept below `.cache`; each machine writes into an overlay above it. It
shares this machine's network, so what listens on loopback here can be reached there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.parts.processes import children, is_alive, until

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "machines"
SUITE = "bookworm"
_PACKAGES = "systemd,systemd-sysv,dbus,ca-certificates,python3,python3-venv"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("mmdebstrap", "systemd-nspawn", "nsenter", "mount")
# Python of that Debian; wheels are fetched for it, whatever Python runs the tests.
_WHEEL_PLATFORM = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311")


def missing() -> str:
    """Why there can be no machines here, empty when there can."""
    if os.geteuid() != 0:
        return "systemd-nspawn and overlays need root"
    lacking = [program for program in _PROGRAMS if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def base_system() -> Path:
    """The cached root file system; made now if it is not there."""
    name = hashlib.sha256(f"{SUITE} {_PACKAGES}".encode()).hexdigest()[:12]
    return _made(CACHE / f"{SUITE}-{name}", _bootstrap)


def wheelhouse() -> Path:
    """Wheels of everything in `requirements.lock` for the cached system, fetched once."""
    lock = ROOT / "requirements.lock"
    name = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return _made(CACHE / f"wheels-{name}", _fetch_wheels)


def _made(place: Path, make: Callable[[Path], subprocess.CompletedProcess[str]]) -> Path:
    if not place.exists():
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        done = make(fresh)
        if done.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            pytest.skip(f"cannot be made here: {done.stderr.strip()[-300:]}")
        fresh.rename(place)
    return place


def _bootstrap(place: Path) -> subprocess.CompletedProcess[str]:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", SUITE]
    return subprocess.run([*command, str(place)], capture_output=True, text=True, check=False)


def _fetch_wheels(place: Path) -> subprocess.CompletedProcess[str]:
    place.mkdir()
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes"]
    lock = str(ROOT / "requirements.lock")
    options = ["--only-binary", ":all:", *_WHEEL_PLATFORM, *platforms("x86_64"), "-r", lock]
    return subprocess.run(
        [*command, *options, "-d", str(place)], capture_output=True, text=True, check=False
    )


def platforms(machine: str) -> list[str]:
    """The platform tags that Debian 12 (glibc 2.36) takes."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(17, 37)]
    tags.append(f"manylinux2014_{machine}")
    return [word for tag in tags for word in ("--platform", tag)]


class Machine:
    """One machine: its disk while it exists, and its processes while it is booted.

    Args:
        folder: Where its overlay goes.
        lower: Read-only root file systems, topmost first.
        binds: Folders of this machine to show there, read-only unless the target ends in `:rw`.
    """

    def __init__(
        self, folder: Path, lower: Sequence[Path], binds: Mapping[Path, str] | None = None
    ) -> None:
        self.root = folder / "root"
        self.disk = folder / "disk"
        self._folder = folder
        self._binds = dict(binds or {})
        self._is_new = len(lower) == 1
        self._leader = 0
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.root, self.disk, folder / "work"):
            path.mkdir(parents=True, exist_ok=True)
        layers = ":".join(str(path) for path in lower)
        options = f"lowerdir={layers},upperdir={self.disk},workdir={folder / 'work'}"
        for target in self._binds.values():
            (self.disk / target.removesuffix(":rw").lstrip("/")).mkdir(parents=True, exist_ok=True)
        _check("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))

    def boot(self) -> None:
        """Start systemd there and wait until it takes requests."""
        if self._is_new:  # a new machine; its id is part of what its credentials are encrypted with
            (self.root / "etc/machine-id").write_text("")
        self._is_new = False
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        command = [*self._nspawn(), "--console=pipe", "--boot"]
        with (self._folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._is_up, 90, "the machine is up", every_s=0.1)

    def _is_up(self) -> bool:
        # Its first children only prepare the container; the one that stays is the machine's first process.
        assert self._process is not None
        for pid in children(self._process.pid):
            if Path(f"/proc/{pid}", "root", "run/dbus/system_bus_socket").exists():
                self._leader = pid
        return self._leader != 0

    def run(
        self, *command: str, timeout_s: float = 300, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; in the booted system, or in a container of its own."""
        return subprocess.run(
            [*self._inside(), *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start a command there, with all that comes of it in a process group of its own; output is one stream."""
        return subprocess.Popen(
            [*self._inside(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run_confined(
        self, *options: str, command: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command without booting, with more options of systemd-nspawn."""
        return subprocess.run(
            [*self._nspawn(), "--as-pid2", "--pipe", *options, "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", unit, "-p", name, "--value").stdout.strip()

    def journal(self, unit: str) -> str:
        """What a unit said."""
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat").stdout

    def power_off(self) -> None:
        """End it as a power cut would."""
        process, self._process = self._process, None
        if process is None:
            return
        if is_alive(self._leader):
            os.kill(self._leader, signal.SIGKILL)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._leader = 0

    def destroy(self) -> None:
        """Power it off and forget its disk."""
        self.power_off()
        for _ in range(50):
            if subprocess.run(["umount", str(self.root)], check=False).returncode == 0:
                break
            time.sleep(0.2)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _inside(self) -> list[str]:
        if not self._process:
            return [*self._nspawn(), "--as-pid2", "--pipe", "--"]
        namespaces = ["-m", "-u", "-i", "-n", "-p"]
        return [
            "nsenter",
            "-t",
            str(self._leader),
            *namespaces,
            "--",
            "env",
            "-i",
            _PATH,
            "HOME=/root",
            "LANG=C.UTF-8",
            "COLUMNS=200",
        ]

    def _nspawn(self) -> list[str]:
        command = [
            "systemd-nspawn",
            "--quiet",
            "-D",
            str(self.root),
            "--register=no",
            "--keep-unit",
        ]
        for source, target in self._binds.items():
            writable = target.endswith(":rw")
            option = "--bind" if writable else "--bind-ro"
            command.append(f"{option}={source}:{target.removesuffix(':rw')}")
        return [*command, "--resolv-conf=off", "-E", _PATH]


def _check(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} is refused here: {done.stderr.strip()}")
