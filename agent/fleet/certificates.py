"""Which certificates were issued to which device, so that all of a device's can be revoked."""

from __future__ import annotations

import sqlalchemy as sql

from agent.fleet.authority import Issued
from agent.fleet.database import Database
from agent.fleet.tables import CERTIFICATES, DEVICES


class CertificateBook:
    """Issued certificates until they expire. Methods raise `StorageError` when the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, device: str, issued: Issued, now_ms: int) -> None:
        """Remember a certificate, and forget those that have expired."""
        values = {
            "serial": issued.serial,
            "device": device,
            "issued_ms": now_ms,
            "expires_ms": issued.expires_ms,
            "revoked": 0,
        }
        with self._database.transaction() as connection:
            connection.execute(sql.delete(CERTIFICATES).where(CERTIFICATES.c.expires_ms < now_ms))
            connection.execute(sql.insert(CERTIFICATES).values(values))

    def newest_ms(self, device: str) -> int:
        """Return when the device's newest certificate was issued, 0 for none."""
        newest = sql.select(sql.func.max(CERTIFICATES.c.issued_ms).label("newest"))
        rows = self._database.rows(newest.where(CERTIFICATES.c.device == device))
        return int(rows[0]["newest"] or 0)

    def revoke(self, device: str) -> None:
        """Revoke everything that was issued to a device so far."""
        own = sql.update(CERTIFICATES).where(CERTIFICATES.c.device == device)
        self._database.change(own.values(revoked=1))

    def revoked(self) -> list[str]:
        """Return the serial numbers (hexadecimal) that the broker must not let in."""
        listed = sql.select(CERTIFICATES.c.serial).where(CERTIFICATES.c.revoked == 1)
        # Devices that joined before certificates were written down one by one.
        old = sql.select(DEVICES.c.serial).where(DEVICES.c.revoked == 1)
        rows = self._database.rows(listed) + self._database.rows(old)
        return sorted({row["serial"] for row in rows})
