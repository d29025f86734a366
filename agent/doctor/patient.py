"""Whom the doctor looks at: a configuration, the machine's root, and what the running agent says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent.errors import VigilError
from agent.schema.config import Config
from agent.schema.pace import FleetPaces
from agent.telemetry.status_file import Status, read_status


@dataclass(frozen=True)
class Patient:
    """A device.

    Attributes:
        root: Where `/proc`, `/sys`, `/etc`, `/run` and `/var` are looked for.
        status: What the running agent says; None without one, and `silence` says why.
        fleet: How quick devices are that are alike; None where nobody told.
    """

    config: Config
    root: Path
    status: Status | None
    silence: VigilError | None = None
    fleet: FleetPaces | None = None

    @property
    def folder(self) -> Path:
        """Return the state folder."""
        return Path(self.config.state_dir)


def admit(config: Config, root: Path = Path("/"), fleet: FleetPaces | None = None) -> Patient:
    """Read the status file and return the patient."""
    try:
        status = read_status(Path(config.runtime_dir))
    except VigilError as error:
        return Patient(config, root, None, error, fleet)
    if not _is_alive(status.pid):
        message = f"the agent is not running: its process {status.pid} is gone"
        return Patient(config, root, None, VigilError(message, code="status.gone"), fleet)
    return Patient(config, root, status, fleet=fleet)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
