"""The controller's memory: devices, release keys and enrolment tokens, in one SQLite file (mode 0600).

Tokens are kept only as digests; redeeming one is a single transaction, so it works once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigError, StorageError, TrustError

_TABLES = """
CREATE TABLE IF NOT EXISTS devices (
    id TEXT PRIMARY KEY, class TEXT NOT NULL, groups TEXT NOT NULL, public_key BLOB NOT NULL,
    serial TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0, enrolled_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS release_keys (release TEXT PRIMARY KEY, dek BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
    digest TEXT PRIMARY KEY, device TEXT NOT NULL, class TEXT NOT NULL, groups TEXT NOT NULL,
    expires_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS grants (
    at_ms INTEGER NOT NULL, device TEXT NOT NULL, release TEXT NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS grants_of_device ON grants (device, at_ms);
"""
_GRANTS_KEPT = 1_000_000


@dataclass(frozen=True)
class DeviceRecord:
    """One enrolled device.

    Attributes:
        public_key: What model keys are wrapped to: a point of P-256 (65 bytes) or X-Wing (1,216 bytes).
        serial: Serial number of its certificate, hexadecimal.
    """

    id: str
    device_class: str
    groups: tuple[str, ...]
    public_key: bytes
    serial: str
    revoked: bool = False
    enrolled_ms: int = 0


@dataclass(frozen=True)
class GrantRecord:
    """One answer of the key service: when, to whom, for what, and its status and reason."""

    at_ms: int
    device: str
    release: str
    status: int
    reason: str = ""


@dataclass(frozen=True)
class Invitation:
    """What a token is good for: this device, in this class and these groups."""

    device: str
    device_class: str
    groups: tuple[str, ...]


class Registry:
    """The file at `path`; safe to use from several threads.

    Raises:
        StorageError: The file cannot be opened or is no registry; so do all methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    # devices ---------------------------------------------------------------------------------------

    def put_device(self, record: DeviceRecord) -> None:
        """Register a device, or replace what was known of it."""
        self._run(
            "INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?)",
            record.id,
            record.device_class,
            json.dumps(record.groups),
            record.public_key,
            record.serial,
            int(record.revoked),
            record.enrolled_ms,
        )

    def device(self, device: str) -> DeviceRecord | None:
        """Return a device's record, None when it is not registered."""
        rows = self._run("SELECT * FROM devices WHERE id = ?", device)
        return _record(rows[0]) if rows else None

    def devices(self) -> list[DeviceRecord]:
        """Return every device by id."""
        return [_record(row) for row in self._run("SELECT * FROM devices ORDER BY id")]

    def revoke(self, device: str) -> None:
        """Refuse the device's next key; it keeps what it has.

        Raises:
            ConfigError: It is not registered.
        """
        if not self._run("UPDATE devices SET revoked = 1 WHERE id = ? RETURNING id", device):
            raise ConfigError(f"device {device}: not registered", code="fleet.unknown_device")

    def rotate_key(self, device: str, old_public: bytes, new_public: bytes) -> None:
        """Put a device's new key in the place of the old one.

        Raises:
            ConfigError: It is not registered, is revoked, or has another key by now.
        """
        if not self._run(
            "UPDATE devices SET public_key = ? WHERE id = ? AND public_key = ? AND revoked = 0 "
            "RETURNING id",
            new_public,
            device,
            old_public,
        ):
            message = f"device {device}: not registered with this key, or revoked"
            raise ConfigError(message, code="fleet.unknown_device")

    # grants ----------------------------------------------------------------------------------------

    def log_grant(self, record: GrantRecord) -> None:
        """Remember an answer of the key service, refusals too; the oldest of a million make room."""
        self._run(
            "INSERT INTO grants VALUES (?, ?, ?, ?, ?)",
            record.at_ms,
            record.device,
            record.release,
            record.status,
            record.reason,
        )
        self._run(
            "DELETE FROM grants WHERE rowid <= (SELECT max(rowid) FROM grants) - ?", _GRANTS_KEPT
        )

    def grants(self, device: str, limit: int = 100) -> list[GrantRecord]:
        """Return the latest answers to a device, newest first."""
        rows = self._run(
            "SELECT * FROM grants WHERE device = ? ORDER BY at_ms DESC, rowid DESC LIMIT ?",
            device,
            limit,
        )
        return [GrantRecord(*row) for row in rows]

    # release keys ----------------------------------------------------------------------------------

    def put_release_key(self, release_id: str, dek: bytes) -> None:
        """Keep the key of a release."""
        self._run("INSERT OR REPLACE INTO release_keys VALUES (?, ?)", release_id, dek)

    def release_key(self, release_id: str) -> bytes | None:
        """Return the key of a release, None when it is not known."""
        rows = self._run("SELECT dek FROM release_keys WHERE release = ?", release_id)
        return bytes(rows[0][0]) if rows else None

    # tokens ----------------------------------------------------------------------------------------

    def put_token(self, token: str, invitation: Invitation, expires_ms: int) -> None:
        """Remember a token's digest and what it is good for until `expires_ms`."""
        self._run(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?)",
            _digest(token),
            invitation.device,
            invitation.device_class,
            json.dumps(invitation.groups),
            expires_ms,
        )

    def redeem(self, token: str, device: str, now_ms: int) -> Invitation:
        """Use up a token for `device`.

        Raises:
            TrustError: Unknown, used, expired, or made for another device.
        """
        rows = self._run(
            "DELETE FROM tokens WHERE digest = ? AND device = ? AND expires_ms > ? "
            "RETURNING device, class, groups",
            _digest(token),
            device,
            now_ms,
        )
        if not rows:
            message = (
                f"device {device}: the enrolment token is unknown, used up, expired or not its own"
            )
            raise TrustError(message, code="trust.token", hint="make a new token")
        name, device_class, groups = rows[0]
        return Invitation(name, device_class, tuple(json.loads(groups)))

    # inside ----------------------------------------------------------------------------------------

    def _run(self, sql: str, *values: Any) -> list[Any]:
        with self._lock, self._errors():
            return self._database.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{self._path}: {error}", hint="check the disk") from error


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _record(row: Any) -> DeviceRecord:
    device, device_class, groups, key, serial, revoked, enrolled_ms = row
    return DeviceRecord(
        device, device_class, tuple(json.loads(groups)), key, serial, bool(revoked), enrolled_ms
    )
