"""What systemd sees: a unit without mistakes, readiness when the agent is up, a watchdog while it is well."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.app.lifecycle import EXIT_RESTART, Lifecycle
from agent.errors import ConfigError
from agent.host.ending import Ending
from agent.host.loop import Loop
from agent.update.selfupdate.launcher import AGAIN
from tests.parts.processes import until
from tests.parts.site import Site

UNIT = Path(__file__).parents[2] / "systemd" / "vigil.service"
needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


@needs_analyze
def test_the_unit_has_no_mistakes(tmp_path: Path) -> None:
    # An unknown key is only a line on stderr, so the executable must be one that is there.
    unit = tmp_path / "vigil.service"
    unit.write_text(UNIT.read_text().replace("/opt/vigil/bin/vigil", "/bin/true"))
    result = analyze("verify", "--man=no", str(unit))
    assert (result.returncode, result.stderr) == (0, "")


@needs_analyze
def test_started_by_the_launcher_it_has_no_mistakes_either(tmp_path: Path) -> None:
    shutil.copytree(UNIT.parent, tmp_path, dirs_exist_ok=True)
    drop_in = tmp_path / "vigil.service.d/30-launcher.conf"
    text = drop_in.read_text()
    assert "\nExecStart=\nExecStart=/opt/vigil/launch run" in text
    drop_in.write_text(text.replace("/opt/vigil/launch", "/bin/true"))
    result = analyze("verify", "--man=no", str(tmp_path / "vigil.service"))
    assert (result.returncode, result.stderr) == (0, "")


@needs_analyze
def test_the_unit_is_well_confined() -> None:
    result = analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    assert result.returncode == 0, result.stdout


def test_a_restart_that_was_commanded_is_one_that_systemd_makes() -> None:
    lines = UNIT.read_text().splitlines()
    assert "Restart=on-failure" in lines, "which any status but 0 is"
    assert f"RestartPreventExitStatus={ConfigError.exit_status}" in lines
    assert EXIT_RESTART not in {0, ConfigError.exit_status}


@pytest.mark.parametrize("unit", [UNIT, UNIT.parent / "vigil.service.d/30-launcher.conf"])
def test_as_the_unit_starts_it_it_loads_no_command_line(unit: Path, tmp_path: Path) -> None:
    start = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart=/"))
    arguments = [str(tmp_path) if "/" in word else word for word in start.split()[1:]]
    command = [sys.executable, "-X", "importtime", "-m", "agent", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == ConfigError.exit_status
    assert "[config." in run.stderr
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "agent.app.service" in imported
    assert "agent.cli" not in imported


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


class Manager:
    """The end of the notification socket that systemd holds."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(60)

    def hear(self) -> list[str]:
        """The lines of the next message."""
        return self._socket.recv(4096).decode().splitlines()

    def hear_until(self, line: str) -> None:
        while line not in self.hear():
            pass

    def count(self, line: str, seconds: float) -> int:
        """How often a line comes within that time."""
        end_s, found = time.monotonic() + seconds, 0
        self._socket.settimeout(0.1)
        while time.monotonic() < end_s:
            try:
                found += line in self.hear()
            except TimeoutError:
                continue
        return found


def under_systemd(manager: Manager, watchdog_s: float) -> list[str]:
    return ["env", f"NOTIFY_SOCKET={manager.address}", f"WATCHDOG_USEC={int(watchdog_s * 1e6)}"]


def test_it_says_when_it_is_ready_feeds_the_watchdog_and_says_when_it_stops(
    site: Site, tmp_path: Path
) -> None:
    manager = Manager(tmp_path)
    device = site.device("notifies")
    device.start(under=under_systemd(manager, watchdog_s=2.0))
    first = manager.hear()
    assert "READY=1" in first
    assert f"MAINPID={device.pid}" in first
    for _ in range(4):
        manager.hear_until("WATCHDOG=1")
    device.signal(signal.SIGTERM)
    manager.hear_until("STOPPING=1")
    assert device.wait() == 0


def test_the_watchdog_is_fed_four_times_more_often_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    pauses_s: list[float] = []

    class AtTheThird(Ending):
        """Comes at the third pause."""

        def wait(self, timeout_s: float) -> bool:
            pauses_s.append(timeout_s)
            return len(pauses_s) == 3

    life = Lifecycle()
    life._ending = AtTheThird()
    assert life.run([]) == 0
    assert pauses_s == [0.5, 0.5, 0.5]
    manager.hear()
    assert [manager.hear() for _ in range(3)] == [["WATCHDOG=1"], ["WATCHDOG=1"], ["STOPPING=1"]]


def test_a_frozen_agent_feeds_no_watchdog(site: Site, tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    device = site.device("frozen")
    device.start(under=under_systemd(manager, watchdog_s=1.0))
    manager.hear_until("WATCHDOG=1")
    device.signal(signal.SIGSTOP)
    manager.count("WATCHDOG=1", 0.3)
    assert manager.count("WATCHDOG=1", 1.0) == 0


def test_an_end_that_another_version_follows_is_no_stop_to_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    life = Lifecycle()
    life.finish(AGAIN)
    assert life.run([]) == AGAIN
    manager.hear()
    assert manager.hear() == ["RELOADING=1"]


def test_a_loop_that_shows_no_sign_of_life_keeps_the_watchdog_unfed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    life = Lifecycle()

    class Watched:
        """Shows no sign of life, and ends when it has been missed a few times."""

        def run(self, stop: threading.Event) -> None:  # noqa: ARG002 - the protocol's
            until(lambda: caplog.text.count("no sign of life from: camera") > 3, 60, "it is missed")
            life.finish()

    assert life.run([Loop("camera", Watched(), 0.0, life.on_crash)]) == 0
    assert manager.hear()[0] == "READY=1"
    assert manager.hear() == ["STOPPING=1"], "nothing in between"


def test_status_shows_the_running_agent_and_says_when_none_runs(site: Site) -> None:
    device = site.serving("shown")
    until((device.folder / "run/status.json").exists, 30, "the status file is there")
    until(lambda: "infer" in device.cli("status").stdout, 60, "stages are measured")
    shown = device.cli("status")
    assert shown.returncode == 0, shown.stderr
    for word in ("shown", "sorters/parts/1.0.0", "running", "belt", "infer", str(device.pid)):
        assert word in shown.stdout
    assert device.stop() == 0

    absent = device.cli("status")
    assert absent.returncode == 1
    assert "not running" in absent.stderr
    assert "Traceback" not in absent.stderr


def test_status_of_a_killed_agent_is_not_taken_for_news(site: Site) -> None:
    device = site.running("gone")
    until((device.folder / "run/status.json").exists, 30, "the status file is there")
    device.kill()
    os.utime(device.folder / "run/status.json")  # its own clock counts, not the file's
    until(lambda: device.cli("status").returncode == 1, 30, "the status is stale")
    assert "status.stale" in device.cli("status").stderr
