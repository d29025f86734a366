"""What the controller's tables remember of the fleet, as one story in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql

from agent.fleet.database import Database
from agent.fleet.tables import (
    CERTIFICATES,
    DEVICES,
    GRANTS,
    ROLLOUT_DEVICES,
    ROLLOUT_MOVES,
    ROLLOUTS,
)


@dataclass(frozen=True)
class Happening:
    """One line: when by the controller's clock (Unix milliseconds), to whom (empty for the fleet), what, and more of it."""

    at_ms: int
    device: str
    what: str
    detail: str


def history(
    place: Path | str, device: str = "", since_ms: int = 0, limit: int = 1000
) -> list[Happening]:
    """Return what happened since `since_ms`, of one device or of all, the newest `limit` lines, oldest first.

    Raises:
        StorageError: The database at `place` cannot be used.
    """
    database = Database(place)
    try:
        found = [one for kind in _KINDS for one in kind(database, device, since_ms, limit)]
    finally:
        database.close()
    found.sort(key=lambda one: (one.at_ms, one.device, one.what))
    return found[-limit:]


def _enrolled(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    table = DEVICES.c
    for row in _newest(database, table.enrolled_ms, table.id, device, since_ms, limit):
        yield Happening(row["enrolled_ms"], row["id"], "enrolled", f"class {row['class']}")


def _certified(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    table = CERTIFICATES.c
    for row in _newest(database, table.issued_ms, table.device, device, since_ms, limit):
        note = ", revoked since" if row["revoked"] else ""
        yield Happening(row["issued_ms"], row["device"], "certificate", row["serial"][:12] + note)


def _granted(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    table = GRANTS.c
    for row in _newest(database, table.at_ms, table.device, device, since_ms, limit):
        detail = f"{row['release']}: {row['status']} {row['reason']}".rstrip()
        yield Happening(row["at_ms"], row["device"], "key asked", detail)


def _asked(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    table = ROLLOUT_DEVICES.c
    for row in _newest(database, table.sent_ms, table.device, device, since_ms, limit):
        yield Happening(row["sent_ms"], row["device"], "roll-out asked", row["rollout"])


def _settled(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    table = ROLLOUT_DEVICES.c
    for row in _newest(database, table.settled_ms, table.device, device, since_ms, limit):
        detail = f"{row['rollout']} {row['code']}".rstrip()
        yield Happening(row["settled_ms"], row["device"], f"roll-out {row['step']}", detail)


def _begun(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    if device:
        return
    table = ROLLOUTS.c
    for row in _newest(database, table.started_ms, table.name, "", since_ms, limit):
        yield Happening(row["started_ms"], "", "roll-out begun", row["name"])


def _moved(database: Database, device: str, since_ms: int, limit: int) -> Iterator[Happening]:
    if device:
        return
    table = ROLLOUT_MOVES.c
    for row in _newest(database, table.at_ms, table.rollout, "", since_ms, limit):
        detail = f"{row['rollout']}: {row['reason']}"
        yield Happening(row["at_ms"], "", f"roll-out {row['standing']}", detail)


_KINDS = (_enrolled, _certified, _granted, _asked, _settled, _begun, _moved)


def _newest(
    database: Database,
    at_ms: sql.Column[int],
    of: sql.Column[str],
    device: str,
    since_ms: int,
    limit: int,
) -> list[sql.RowMapping]:
    # A row that never happened has 0 as its time.
    query = sql.select(at_ms.table).where(at_ms >= max(1, since_ms))
    if device:
        query = query.where(of == device)
    return database.rows(query.order_by(at_ms.desc()).limit(limit))
