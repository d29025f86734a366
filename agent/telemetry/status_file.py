"""The status file: what `vigil status` shows, written every second to `<runtime_dir>/status.json`.

The file names its boot and monotonic time, so that a reader sees a dead agent whatever the wall clock
did, and a file left over from before a reboot is never taken for news.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from agent.errors import StorageError, VigilError
from agent.host.clock import boot_id, monotonic_ns
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.messages import State, Telemetry
from agent.schema.values import Struct

if TYPE_CHECKING:
    import threading
    from pathlib import Path

logger = logging.getLogger(__name__)

STATUS_SCHEMA = 1
STALE_S = 5.0
_EVERY_S = 1.0
_NAME = "status.json"
_MAX_BYTES = 1024 * 1024


class Status(Struct):
    """The file's content.

    Attributes:
        boot: The kernel's boot id.
        written_ns: CLOCK_MONOTONIC when it was written.
        pid: Process id of the control process.
        worker_pid: Process id of the serving worker, 0 without one.
        link: `connected by MQTT 5`, or what keeps the link from being so.
        last_frames_ns: CLOCK_MONOTONIC of each camera's last frame that was processed without an error.
    """

    schema: int
    boot: str
    written_ns: int
    pid: int
    worker_pid: int
    link: str
    state: State
    telemetry: Telemetry
    last_frames_ns: dict[str, int] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class StatusFile:
    """Writes the file until stopped."""

    folder: Path
    state: Callable[[], State]
    telemetry: Callable[[], Telemetry]
    worker_pid: Callable[[], int]
    link: Callable[[], str]
    last_frames_ns: Callable[[], dict[str, int]] = dict
    disk: Disk = REAL_DISK

    def run(self, stop: threading.Event) -> None:
        """Write once a second; a disk that refuses is reported once and tried again."""
        trouble = ""
        while not stop.wait(_EVERY_S):
            try:
                self.write()
                trouble = ""
            except StorageError as error:
                if not trouble:
                    logger.warning("status file: %s", error)
                trouble = str(error)
        self.disk.remove(self.folder / _NAME)

    def write(self) -> None:
        """Write the file now.

        Raises:
            StorageError: The folder cannot be written.
        """
        status = Status(
            schema=STATUS_SCHEMA,
            boot=boot_id(),
            written_ns=monotonic_ns(),
            pid=os.getpid(),
            worker_pid=self.worker_pid(),
            link=self.link(),
            state=self.state(),
            telemetry=self.telemetry(),
            last_frames_ns=self.last_frames_ns(),
        )
        self.disk.write_atomic(self.folder / _NAME, to_json(status), 0o644)


def read_status(folder: Path, disk: Disk = REAL_DISK) -> Status:
    """Return what the agent says of itself now.

    Raises:
        VigilError: `status.absent` without a file, `status.stale` with an old one (the agent does not run
            or hangs), `status.malformed` with one of another version.
        StorageError: The file cannot be read.
    """
    path = folder / _NAME
    if not disk.exists(path):
        hint = "start it with `systemctl start vigil`, or look at `journalctl -u vigil`"
        message = f"the agent is not running: there is no {path}"
        raise VigilError(message, code="status.absent", hint=hint)
    try:
        status = parse_json(disk.read(path, _MAX_BYTES), Status)
    except Malformed as error:
        message = f"{path}: {error}"
        hint = "restart the agent: it is of another version than this command"
        raise VigilError(message, code="status.malformed", hint=hint) from error
    age_s = (monotonic_ns() - status.written_ns) / 1e9
    if status.boot != boot_id() or not 0 <= age_s <= STALE_S:
        raise VigilError(
            f"the agent is not running or hangs: {path} is {_age(status, age_s)}",
            code="status.stale",
            hint="look at `journalctl -u vigil`",
        )
    return status


def _age(status: Status, age_s: float) -> str:
    return f"{age_s:.0f} s old" if status.boot == boot_id() else "from before the last reboot"
