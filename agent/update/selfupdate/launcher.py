#!/usr/bin/python3
"""Starts the agent from one of two environments; goes back when a new one does not prove itself.

Installed as `<prefix>/launch` beside `a/` and `b/`; standard library only, Python 3.10 and newer. `state/slots.json` names the
environment in use, and a candidate with its tries, counted on disk before a start. A candidate is watched until the agent in
it writes that it is kept; one that ends, falls silent or is late is rolled back.
"""

import ctypes
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SLOTS, MAX_TRIES, AGAIN = ("a", "b"), 3, 79  # an agent that staged a candidate exits with AGAIN
LIMITS = {"ready_s": 120.0, "silence_s": 60.0, "deadline_s": 1200.0}
FRESH: dict[str, Any] = {"current": "", "version": "", "candidate": None, "last": None, "bad": {}}
State = dict[str, Any]


class _Files:
    def read(self, path: Path, limit: int) -> bytes:
        return path.read_bytes()[:limit]

    def write_atomic(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def load(disk: Any, path: Path) -> State:
    """Return the state; that of a first start when there is none or it is damaged."""
    try:
        body, _, check = disk.read(path, 65536).partition(b"\n")
        return {**FRESH, **json.loads(body)} if check.strip() == _digest(body) else dict(FRESH)
    except (OSError, ValueError, TypeError):  # whatever it is, an agent is started
        return dict(FRESH)


def save(disk: Any, path: Path, state: State) -> None:
    """Write the state, durably."""
    body = json.dumps(state).encode()
    disk.write_atomic(path, body + b"\n" + _digest(body) + b"\n")


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def rolled_back(state: State, reason: str) -> State:
    """Return the state without its candidate, which is not tried again unasked."""
    gone, bad = state["candidate"], {**state["bad"], state["candidate"]["version"]: reason}
    last = {**gone, "outcome": "rolled_back", "reason": reason, "told": False}
    return {**state, "candidate": None, "last": last, "bad": bad}


def begin(disk: Any, path: Path, usable: tuple[str, ...]) -> tuple[State, str]:
    """Decide, on disk first, which environment to start; the `usable` ones have an interpreter."""
    state = load(disk, path)
    candidate = state["candidate"]
    if candidate and candidate["tries"] >= MAX_TRIES:
        state = rolled_back(state, f"started {MAX_TRIES} times without being kept")
    elif candidate and candidate["slot"] not in usable:
        state = rolled_back(state, "its environment is gone")
    elif candidate:
        state = {**state, "candidate": {**candidate, "tries": candidate["tries"] + 1}}
    if state["candidate"] != candidate:
        save(disk, path, state)
    wanted = state["candidate"]["slot"] if state["candidate"] else state["current"]
    return state, wanted if wanted in usable else (usable or SLOTS)[0]


class _Watch:  # passes a candidate's notifications on, and knows when it is silent or late
    def __init__(self, command: list[str], env: State, limits: State, notify: Path) -> None:
        self.stopping, self._ready, self._limits = False, False, limits
        self._systemd = env.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.unlink(missing_ok=True)
        self._socket.bind(str(notify))
        self._socket.settimeout(0.2)
        silence_us = env.get("WATCHDOG_USEC") or str(int(limits["silence_s"] * 1e6))
        own = {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": silence_us, "VIGIL_WATCHED": "1"}
        env = {name: value for name, value in env.items() if name != "WATCHDOG_PID"} | own
        die = ctypes.CDLL(None).prctl  # PR_SET_PDEATHSIG; this process has one thread
        self._born = self._heard = time.monotonic()
        self._child = subprocess.Popen(command, env=env, preexec_fn=lambda: die(1, 15))  # noqa: PLW1509
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self, kept: Any) -> tuple[int, str]:
        is_kept = False
        while (status := self._child.poll()) is None:
            self._pass_on()
            is_kept = is_kept or kept()
            if not self.stopping and not is_kept and (fault := self._fault()):
                self._child.terminate()
                try:
                    return self._child.wait(10), fault
                except subprocess.TimeoutExpired:
                    self._child.kill()
                    return self._child.wait(), fault
        return status, ""

    def _fault(self) -> str:
        now, what = time.monotonic(), "silence_s" if self._ready else "ready_s"
        if now - self._heard > self._limits[what]:
            return f"{'no sign of life' if self._ready else 'not ready'} for {self._limits[what]} s"
        late = now - self._born > self._limits["deadline_s"]
        return f"not kept within {self._limits['deadline_s']} s" if late else ""

    def _pass_on(self) -> None:
        try:
            lines = self._socket.recv(4096).decode().split("\n")
            self._heard, self._ready = time.monotonic(), self._ready or "READY=1" in lines
        except TimeoutError:
            if self._ready:
                return
            lines = ["WATCHDOG=1"]  # systemd's patience is for a running agent, not for a start
        # The service goes on when a candidate ends, and its main process is this one.
        text = "\n".join(line for line in lines if not line.startswith(("MAINPID=", "STOPPING=")))
        if text and self._systemd:
            self._socket.sendto(text.encode(), self._systemd)

    def _stop(self, number: int, _frame: Any) -> None:
        self.stopping = True
        self._child.send_signal(number)


def _main(arguments: list[str]) -> int:
    prefix, disk = Path(__file__).resolve().parent, _Files()
    path, own = prefix / "state/slots.json", {"VIGIL_PREFIX": str(prefix), "PYTHONSAFEPATH": "1"}
    while True:
        usable = tuple(slot for slot in SLOTS if os.access(prefix / slot / "bin/python", os.X_OK))
        state, slot = begin(disk, path, usable)
        command = [str(prefix / slot / "bin/python"), "-m", "agent", *arguments]
        env = {**os.environ, **own, "VIGIL_SLOT": slot}
        if not state["candidate"]:
            os.execve(command[0], command, env)  # noqa: S606
        limits = {**LIMITS, **state["candidate"].get("limits", {})}
        watch = _Watch(command, env, limits, prefix / "state/notify")
        status, fault = watch.run(lambda: load(disk, path)["candidate"] is None)
        state = load(disk, path)
        if watch.stopping or (state["current"] == slot and status != AGAIN):
            return status if status >= 0 else 128 - status
        if state["candidate"] and state["candidate"]["slot"] == slot:
            reason = fault or f"ended with status {status} before it was kept"
            save(disk, path, rolled_back(state, reason))
            sys.stderr.write(f"<3>vigil launcher: back to the version before: {reason}\n")


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
