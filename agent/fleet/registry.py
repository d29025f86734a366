"""The controller's memory of devices, their certificates, release keys and enrolment tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql

from agent.errors import ConfigError
from agent.fleet.certificates import CertificateBook
from agent.fleet.database import Database
from agent.fleet.tables import DEVICES, GRANTS, RELEASE_KEYS
from agent.fleet.tokens import Tokens

_GRANTS_KEPT = 1_000_000
_TIDIED_EVERY = 1000


@dataclass(frozen=True)
class DeviceRecord:
    """One enrolled device.

    Attributes:
        public_key: What model keys are wrapped to: a point of P-256 (65 bytes) or X-Wing (1,216 bytes).
        serial: Serial number of its newest certificate, hexadecimal.
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


class Registry:
    """What is in the database at `place`, see `agent.fleet.database`; safe to use from several threads.

    Attributes:
        tokens: Invitations that are out.
        certificates: What was issued to whom.

    Raises:
        StorageError: The database cannot be used; so do all methods.
    """

    def __init__(self, place: Path | str) -> None:
        self._database = Database(place)
        self.tokens = Tokens(self._database)
        self.certificates = CertificateBook(self._database)
        self._grants = itertools.count(1)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # devices ---------------------------------------------------------------------------------------

    def put_device(self, record: DeviceRecord) -> None:
        """Register a device, or replace what was known of it."""
        self.put_devices([record])

    def put_devices(self, records: Sequence[DeviceRecord]) -> None:
        """Register all of these devices, or none, or replace what was known of them."""
        rows = [
            {
                "id": record.id,
                "class": record.device_class,
                "groups": list(record.groups),
                "public_key": record.public_key,
                "serial": record.serial,
                "revoked": int(record.revoked),
                "enrolled_ms": record.enrolled_ms,
            }
            for record in records
        ]
        old = sql.delete(DEVICES).where(DEVICES.c.id == sql.bindparam("old"))
        with self._database.transaction() as connection:
            connection.execute(old, [{"old": record.id} for record in records])
            connection.execute(sql.insert(DEVICES), rows)

    def device(self, device: str) -> DeviceRecord | None:
        """Return a device's record, None when it is not registered."""
        rows = self._database.rows(sql.select(DEVICES).where(DEVICES.c.id == device))
        return _record(rows[0]) if rows else None

    def known(self, device: str) -> DeviceRecord:
        """Return a device's record.

        Raises:
            ConfigError: It is not registered.
        """
        record = self.device(device)
        if record is None:
            raise _unknown(device)
        return record

    def devices(self) -> list[DeviceRecord]:
        """Return every device by id."""
        return [
            _record(row) for row in self._database.rows(sql.select(DEVICES).order_by(DEVICES.c.id))
        ]

    def revoke(self, device: str) -> bool:
        """Refuse the device's next key, all its certificates and invitations; it keeps the models that it has.

        Returns:
            Whether it was registered; who was only invited has lost the invitation.

        Raises:
            ConfigError: It is neither registered nor invited.
        """
        was_invited = self.tokens.void(device)
        self.certificates.revoke(device)
        is_registered = bool(self._database.change(_change(device).values(revoked=1)))
        if not is_registered and not was_invited:
            raise _unknown(device)
        return is_registered

    def renewed(self, device: str, serial: str) -> None:
        """Note the serial number of a device's newest certificate."""
        self._database.change(_change(device).values(serial=serial))

    def rotate_key(self, device: str, old_public: bytes, new_public: bytes) -> None:
        """Put a device's new key in the place of the old one.

        Raises:
            ConfigError: It is not registered, is revoked, or has another key by now.
        """
        change = _change(device).where(DEVICES.c.public_key == old_public, DEVICES.c.revoked == 0)
        if not self._database.change(change.values(public_key=new_public)):
            message = f"device {device}: not registered with this key, or revoked"
            raise ConfigError(message, code="fleet.unknown_device")

    # grants ----------------------------------------------------------------------------------------

    def log_grant(self, record: GrantRecord) -> None:
        """Remember an answer of the key service, refusals too; the oldest of a million make room."""
        self._database.change(sql.insert(GRANTS).values(vars(record)))
        if next(self._grants) % _TIDIED_EVERY == 0:
            newest = sql.select(GRANTS.c.at_ms).order_by(GRANTS.c.at_ms.desc())
            edge = newest.offset(_GRANTS_KEPT).limit(1).scalar_subquery()
            self._database.change(sql.delete(GRANTS).where(GRANTS.c.at_ms <= edge))

    def grants(self, device: str, limit: int = 100) -> list[GrantRecord]:
        """Return the latest answers to a device, newest first."""
        query = sql.select(GRANTS).where(GRANTS.c.device == device).order_by(GRANTS.c.at_ms.desc())
        return [GrantRecord(**row) for row in self._database.rows(query.limit(limit))]

    # release keys ----------------------------------------------------------------------------------

    def put_release_key(self, release_id: str, dek: bytes) -> None:
        """Keep the key of a release."""
        with self._database.transaction() as connection:
            connection.execute(sql.delete(RELEASE_KEYS).where(RELEASE_KEYS.c.release == release_id))
            connection.execute(sql.insert(RELEASE_KEYS).values(release=release_id, dek=dek))

    def release_key(self, release_id: str) -> bytes | None:
        """Return the key of a release, None when it is not known."""
        query = sql.select(RELEASE_KEYS.c.dek).where(RELEASE_KEYS.c.release == release_id)
        rows = self._database.rows(query)
        return bytes(rows[0]["dek"]) if rows else None


def _change(device: str) -> sql.Update:
    return sql.update(DEVICES).where(DEVICES.c.id == device)


def _record(row: sql.RowMapping) -> DeviceRecord:
    return DeviceRecord(
        id=row["id"],
        device_class=row["class"],
        groups=tuple(row["groups"]),
        public_key=bytes(row["public_key"]),
        serial=row["serial"],
        revoked=bool(row["revoked"]),
        enrolled_ms=row["enrolled_ms"],
    )


def _unknown(device: str) -> ConfigError:
    message, hint = f"device {device}: not registered", "see `vigil fleet devices`"
    return ConfigError(message, code="fleet.unknown_device", hint=hint)
