"""The diagnostics bundle: what somebody who helps needs to know of a device, in one file, without secrets."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent import __version__
from agent.config.settings import Settings
from agent.errors import VigilError
from agent.host.board import read_facts
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.host.redaction import redacted, redacted_tree
from agent.telemetry.status_file import read_status
from agent.trust.audit import read_trail
from agent.update.journal import Journal

LEDGER = "commands.db"
NAME = "vigil-diagnostics.tar.gz"
_AUDIT_ROWS = 500
_LOG_LINES = 2000
_JOURNAL_TIMEOUT_S = 10.0


def collect(settings: Settings, log: Callable[[], str], disk: Disk = REAL_DISK) -> dict[str, bytes]:
    """Return the files of a bundle by name; what cannot be had is a line that says why.

    Args:
        settings: The configuration in force.
        log: Gives the last log lines.
        disk: Disk under the state folder.
    """
    config = settings.config
    state = Path(config.state_dir)
    parts: dict[str, Callable[[], object]] = {
        "versions.json": _versions,
        "config.json": lambda: redacted_tree(msgspec.to_builtins(config)),
        "changes.json": lambda: redacted_tree(msgspec.to_builtins(settings.record)),
        "status.json": lambda: msgspec.to_builtins(read_status(Path(config.runtime_dir), disk)),
        "board.json": lambda: msgspec.to_builtins(read_facts()),
        "update.json": lambda: msgspec.to_builtins(Journal(state, disk).read()),
        "audit.txt": lambda: _audit(state / LEDGER),
        "disk.json": lambda: {"state_free_bytes": disk.free_bytes(state)},
        "log.txt": log,
    }
    return {name: _part(make) for name, make in parts.items()}


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar archive of the files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(f"vigil-diagnostics/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, wall_ms() // 1000
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def service_log() -> str:
    """Return the last lines of the service's log as systemd's journal has them, redacted."""
    program = shutil.which("journalctl")
    if program is None:
        return "there is no journalctl here"
    command = [program, "-u", "vigil", "-n", str(_LOG_LINES), "--no-pager", "-o", "short-iso"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_JOURNAL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the journal cannot be read: {error}"
    return redacted(done.stdout or done.stderr)


def joined(lines: Iterable[object]) -> str:
    """Return log lines as one text, oldest first."""
    return "\n".join(str(line) for line in reversed(list(lines)))


def _part(make: Callable[[], object]) -> bytes:
    try:
        made = make()
    except (VigilError, OSError) as error:
        made = f"not available: {error}"
    if isinstance(made, str):
        return made.encode("utf-8", "backslashreplace") + b"\n"
    return json.dumps(made, indent=2, default=str).encode() + b"\n"


def _versions() -> dict[str, Any]:
    packages = {}
    for found in importlib.metadata.distributions():
        with contextlib.suppress(KeyError):
            packages[found.metadata["Name"]] = found.version
    return {
        "agent": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "machine": platform.machine(),
        "user": os.getuid(),
        "packages": dict(sorted(packages.items())),
    }


def _audit(path: Path) -> str:
    trail = read_trail(path)
    lines = [f"{row.number} {row.at_ms} {row.kind} {redacted(row.text)}" for row in trail.rows]
    return "\n".join([f"{len(trail.rows)} rows, head {trail.head}", *lines[-_AUDIT_ROWS:]])
