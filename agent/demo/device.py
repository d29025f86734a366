"""The demonstration's device: a real `vigil run` in a folder of its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from agent.demo.fleet import DemoFleet
from agent.demo.releases import VIDEO
from agent.host.ports import free_port

CAMERA = "belt"
# Shares of the picture: where parts are looked at on the belt, and the line behind which they count as delivered.
PLACES = {
    "zones": [
        {"name": "inspection", "polygon": [[0.3, 0.1], [0.62, 0.1], [0.68, 0.9], [0.24, 0.9]]},
    ],
    "lines": [{"name": "delivered", "start": [0.84, 0.95], "end": [0.84, 0.05]}],
}
_STOP_S = 15.0


class DemoDevice:
    """Enrols `name` with the fleet and runs the agent there.

    Attributes:
        log: Where the agent's log goes.
        config: The agent's configuration file.
    """

    def __init__(self, name: str, folder: Path, fleet: DemoFleet, console_port: int = 0) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "vigil.log"
        self.port = console_port or free_port()
        self.config = fleet.enrol(name, folder)
        _complete(self.config, self.port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console_url(self) -> str:
        """Where the device's own page is."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """Process id of the control process, 0 while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self, under: Sequence[str] = ()) -> None:
        """Start the agent, `under` another command (`strace -D …`) that becomes it, where given."""
        run = [sys.executable, "-m", "agent", "run", "--config", str(self.config)]
        command = [*under, *_leash(), *run]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> int | None:
        """Stop the agent as a service manager would; return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def last_lines(self, count: int) -> tuple[str, ...]:
        """Return the end of the agent's log."""
        if not self.log.exists():
            return ()
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - 8192))
            return tuple(log.read().decode(errors="replace").splitlines()[-count:])


def _leash() -> list[str]:
    """Return the command by which a program stops when this one ends in any way, where util-linux is there."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def _complete(path: Path, port: int) -> None:
    """Add to the enrolment's configuration what an operator would."""
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config |= {
        "state_dir": "state",
        "runtime_dir": "run",
        "cameras": [{"name": CAMERA, "source": str(VIDEO), **PLACES}],
        "events": {"clips": {"enabled": True}},
        "telemetry": {"interval_s": 1.0, "detections": True},
        "console": {"port": port, "without_token": "operator"},
        "update": {
            "trial_timeout_s": 15.0,
            "probation": {"seconds": 6.0, "frames": 30, "max_p95_ms": 500.0},
        },
    }
    config["broker"]["protocol"] = "3.1.1"  # the embedded broker speaks nothing newer
    path.write_text(yaml.safe_dump(config, sort_keys=False))
