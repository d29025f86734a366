"""The launcher with environments of shell scripts: real processes, signals and notifications."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.host.disk import REAL_DISK
from agent.update.selfupdate import launcher
from agent.update.selfupdate.slots import Slots
from tests.parts.processes import until

# What an "agent" does: the first word of <slot>/does. It writes its starts to <prefix>/log.
ACTOR = """
import os, pathlib, signal, socket, sys, time
prefix, slot = pathlib.Path(os.environ["VIGIL_PREFIX"]), os.environ["VIGIL_SLOT"]
with (prefix / "log").open("a") as log:
    log.write(f"{slot} {' '.join(sys.argv[1:])}\\n")
does, _, rest = (prefix / slot / "does").read_text().partition(" ")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
if does == "exit":
    sys.exit(int(rest))
if does in ("serve", "silent", "keep"):
    tell(f"READY=1\\nMAINPID={os.getpid()}")
if does == "resign":
    tell("STOPPING=1")
    tell("WATCHDOG=1")
    sys.exit(79)
if does == "keep":
    from agent.update.selfupdate.slots import Slots
    Slots(prefix, slot).keep()
    sys.exit(int(rest))
while True:
    time.sleep(0.05)
    if does == "serve":
        tell("WATCHDOG=1")
"""


@dataclass(frozen=True)
class Installation:
    prefix: Path

    @property
    def slots(self) -> Slots:
        return Slots(self.prefix, "a")

    @property
    def starts(self) -> list[str]:
        log = self.prefix / "log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def environment(self, slot: str, does: str) -> None:
        folder = self.prefix / slot / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        (self.prefix / slot / "does").write_text(does)
        script = f'#!/bin/sh\nshift 2\nexec {sys.executable} {self.prefix}/actor.py "$@"\n'
        (folder / "python").write_text(script)
        (folder / "python").chmod(0o755)

    def stage(self, does: str, **limits: float) -> None:
        self.environment("b", does)
        wanted = {"ready_s": 30.0, "silence_s": 30.0, "deadline_s": 60.0, **limits}
        self.slots.stage("2.0.0", "command-1", wanted)

    def launch(self, **env: str) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[2])
        clean = {name: value for name, value in os.environ.items() if "WATCHDOG" not in name}
        return subprocess.Popen(
            [sys.executable, str(self.prefix / "launch"), "run", "--config", "x"],
            env={**clean, "PYTHONPATH": root, **env},
        )

    def run(self) -> int:
        return self.launch().wait(30)

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = self.slots.read()["last"]
        return found


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    """An installation whose environment `a` ends at once with 0."""
    made = Installation(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "actor.py").write_text(ACTOR)
    shutil.copy(launcher.__file__, tmp_path / "launch")
    made.environment("a", "exit 0")
    return made


def test_without_an_update_the_only_environment_becomes_the_process(
    installed: Installation,
) -> None:
    assert installed.run() == 0
    assert (installed.prefix / "log").read_text() == "a run --config x\n"


def test_a_version_that_keeps_itself_is_started_from_then_on(installed: Installation) -> None:
    installed.stage("keep 0")
    assert installed.run() == 0
    installed.environment("b", "exit 0")
    assert installed.run() == 0
    assert installed.starts == ["b", "b"]
    assert installed.last["outcome"] == "committed"


BAD = {
    "cannot be imported": ("exit 1", {}, "ended with status 1"),
    "refuses its configuration": ("exit 78", {}, "ended with status 78"),
    "ends without a fault": ("exit 0", {}, "ended with status 0"),
    "hangs at its start": ("hang", {"ready_s": 0.5}, "not ready"),
    "falls silent": ("silent", {"silence_s": 0.5}, "no sign of life"),
    "never keeps itself": ("serve", {"deadline_s": 1.0}, "not kept within"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_version_ends_with_the_one_before(installed: Installation, fault: str) -> None:
    does, limits, reason = BAD[fault]
    installed.stage(does, **limits)
    assert installed.run() == 0
    assert installed.starts == ["b", "a"]
    assert installed.last["outcome"] == "rolled_back"
    assert reason in installed.last["reason"]
    assert installed.slots.read()["bad"] == {"2.0.0": installed.last["reason"]}


def test_a_version_that_gives_itself_up_is_not_started_again(installed: Installation) -> None:
    installed.stage("exit 79")
    installed.slots.give_up("its window failed")
    assert installed.run() == 0
    assert installed.starts == ["a"]
    assert installed.last["reason"] == "its window failed"


def test_stopping_during_the_trial_is_no_fault_but_a_try(installed: Installation) -> None:
    installed.stage("serve")
    for tries in (1, 2, 3):
        process = installed.launch()
        wanted = ["b"] * tries
        until(partial(_has_started, installed, wanted), 30, f"start {tries}")
        until((installed.prefix / "state/notify").exists, 30, "the watch")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert installed.slots.read()["candidate"]["tries"] == tries
    assert installed.run() == 0
    assert installed.starts[-1] == "a", "three interrupted trials are enough"
    assert "started 3 times" in installed.last["reason"]


def _has_started(installed: Installation, wanted: list[str]) -> bool:
    return installed.starts == wanted


def test_the_service_manager_hears_the_candidate_and_keeps_the_launcher_as_main(
    installed: Installation,
) -> None:
    installed.stage("serve")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(installed.prefix / "systemd"))
        manager.settimeout(60)
        process = installed.launch(
            NOTIFY_SOCKET=str(installed.prefix / "systemd"), WATCHDOG_PID="1"
        )
        heard = [manager.recv(4096)]
        while heard[-1] != b"READY=1":
            heard.append(manager.recv(4096))
        assert set(heard[:-1]) <= {b"WATCHDOG=1"}, "its start does not trip the watchdog"
        assert manager.recv(4096) == b"WATCHDOG=1"
        process.terminate()
        process.wait(60)


def test_a_candidate_that_resigns_does_not_stop_the_service(installed: Installation) -> None:
    installed.stage("resign")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(installed.prefix / "systemd"))
        manager.settimeout(60)
        process = installed.launch(NOTIFY_SOCKET=str(installed.prefix / "systemd"))
        assert process.wait(30) == 0
        manager.settimeout(0.1)
        heard = set()
        with contextlib.suppress(TimeoutError):
            while True:
                heard.add(manager.recv(4096))
    assert heard <= {b"WATCHDOG=1"}


def test_a_slow_start_does_not_trip_the_watchdog_of_the_service(installed: Installation) -> None:
    installed.stage("hang", ready_s=2.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(installed.prefix / "systemd"))
        manager.settimeout(60)
        process = installed.launch(NOTIFY_SOCKET=str(installed.prefix / "systemd"))
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        process.wait(30)
    assert "not ready" in installed.last["reason"]


def test_no_candidate_outlives_a_launcher_that_was_killed(installed: Installation) -> None:
    installed.stage("serve")
    process = installed.launch()
    until(lambda: installed.starts == ["b"], 30, "the candidate starts")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait(60)
    until(lambda: not Path(f"/proc/{children[0]}").exists(), 30, "the candidate ends")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"current": "b"}\nwrong\n', b"\xff\xfe"])
def test_a_damaged_state_still_starts_an_agent(installed: Installation, damage: bytes) -> None:
    installed.slots.path.write_bytes(damage)
    assert installed.run() == 0
    assert installed.starts == ["a"]


def test_an_environment_that_is_gone_is_replaced_by_the_other(installed: Installation) -> None:
    installed.stage("keep 0")
    installed.run()
    shutil.rmtree(installed.prefix / "b")
    assert installed.run() == 0
    assert installed.starts == ["b", "a"]


def test_it_stays_small_and_needs_nothing_but_the_standard_library() -> None:
    text = Path(launcher.__file__).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) < 150
    modules = {
        line.split()[1].partition(".")[0]
        for line in text.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert modules <= set(sys.stdlib_module_names)
    assert REAL_DISK.exists(Path(launcher.__file__))
