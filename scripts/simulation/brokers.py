"""The broker of a simulated fleet: mosquitto as `vigil fleet init` sets it up, or three nodes of NATS."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from tests.parts.other_brokers import NATS, NatsCluster

_START_S = 30.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_OF_IDENTITY = ("cafile", "certfile", "keyfile", "crlfile", "tls_", "require_", "use_", "acl_file")


class Broker(Protocol):
    """What a stage needs of one: `ports` are those that devices dial, the controller the first."""

    ports: list[int]

    def start(self) -> None:
        """Start it and wait until it listens."""

    def take_away(self) -> None:
        """Take it, or a part of it, away under everybody."""

    def bring_back(self) -> None:
        """Start again what was taken away, where that is the trial."""

    def check(self) -> None:
        """End the run, and say how the broker ended, if it did without being told."""

    def usage(self) -> tuple[float, float]:
        """Return CPU seconds since its start and resident megabytes."""

    def stop(self) -> None:
        """End it."""


class Mosquitto:
    """One mosquitto with these settings; `tls` false strikes out all that is about certificates."""

    def __init__(self, settings: Path, port: int, *, tls: bool) -> None:
        self.ports = [port]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        lines = settings.read_text().splitlines()
        if not tls:
            wanted = [line for line in lines if not line.startswith(_OF_IDENTITY)]
            lines = [line.replace("anonymous false", "anonymous true") for line in wanted]
        settings.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it and wait until it listens."""
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            sys.exit("simulate_fleet: mosquitto is not installed")
        self._process = subprocess.Popen(
            [program, "-c", str(self._settings)], stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + _START_S
        while not _listens(self.ports[0]):
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                sys.exit(f"simulate_fleet: mosquitto does not start with {self._settings}")
            time.sleep(0.05)

    def take_away(self) -> None:
        """Let it save what it keeps, and end it."""
        self.stop()

    def bring_back(self) -> None:
        """Start it again."""
        self.start()

    def check(self) -> None:
        """End the run if it ended."""
        if self._process is not None:
            check("mosquitto", self._process)

    def usage(self) -> tuple[float, float]:
        """Return CPU seconds since its last start and resident megabytes."""
        return (0.0, 0.0) if self._process is None else usage_of(self._process.pid)

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(30)


class Nats:
    """Three nodes in plain text, and devices on all of them; the last is killed and stays away."""

    def __init__(self, folder: Path) -> None:
        if NATS is None:
            sys.exit("simulate_fleet: nats-server is not installed")
        self._cluster = NatsCluster(folder, replicas=3)
        self.ports = self._cluster.ports

    def start(self) -> None:
        """Start all nodes and wait until the first takes connections."""
        self._cluster.start()

    def take_away(self) -> None:
        """Kill one node."""
        self._cluster.kill_one()

    def bring_back(self) -> None:
        """Nothing: the others go on without it."""

    def check(self) -> None:
        """End the run if a node ended."""
        for node in self._cluster.nodes:
            check("nats-server", node)

    def usage(self) -> tuple[float, float]:
        """Return CPU seconds and resident megabytes of the living nodes together."""
        used = [usage_of(node.pid) for node in self._cluster.nodes]
        return sum(cpu_s for cpu_s, _ in used), sum(mb for _, mb in used)

    def stop(self) -> None:
        """End all nodes."""
        self._cluster.stop()


def check(name: str, process: subprocess.Popen[Any]) -> None:
    """End the run if `process` ended, and say how."""
    status = process.poll()
    if status is None:
        return
    told = f"status {status}"
    if status < 0:
        told = f"killed by {signal.Signals(-status).name}"
    if status == -signal.SIGKILL:
        told += ", by a person or for want of memory (see dmesg)"
    sys.exit(f"simulate_fleet: {name} ended: {told}")


def usage_of(pid: int) -> tuple[float, float]:
    """Return CPU seconds since its start and resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    rss_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return (int(fields[11]) + int(fields[12])) * _TICK_S, rss_mb


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
