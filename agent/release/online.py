"""The online half of publishing: snapshot and timestamp, the only documents made without people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from agent.host.disk import Disk
from agent.release import documents
from agent.release.charter import ROOT, SNAPSHOT, TIMESTAMP, lifetime

_LIMIT = 5_000_000
_VERSIONED = re.compile(r"(\d+)\.(.+)\.json")


def latest_version(metadata: Path, role: str, disk: Disk) -> int:
    """Return the greatest published version of `role`, 0 when there is none."""
    return _latest(metadata, disk).get(role, 0)


def read_snapshot(metadata: Path, disk: Disk) -> Metadata[Snapshot]:
    """Read the published snapshot.

    Raises:
        TrustError: It is no snapshot.
        StorageError: There is none.
    """
    path = metadata / f"{latest_version(metadata, SNAPSHOT, disk)}.{SNAPSHOT}.json"
    return documents.read_document(disk.read(path, _LIMIT), str(path), Snapshot)


def read_timestamp(metadata: Path, disk: Disk) -> Metadata[Timestamp]:
    """Read the published timestamp.

    Raises:
        TrustError: It is no timestamp.
        StorageError: There is none.
    """
    path = metadata / f"{TIMESTAMP}.json"
    return documents.read_document(disk.read(path, _LIMIT), str(path), Timestamp)


def write_snapshot(
    metadata: Path, root: Root, signers: Sequence[Signer], now: datetime, disk: Disk
) -> None:
    """Write the next snapshot, listing the newest version of every targets document.

    Raises:
        TrustError: The signers are not the snapshot role's; nothing was written.
    """
    versions = _latest(metadata, disk)
    listed = {
        f"{role}.json": _meta_file(metadata / f"{version}.{role}.json", version, disk)
        for role, version in sorted(versions.items())
        if role not in {ROOT, SNAPSHOT}
    }
    version = versions.get(SNAPSHOT, 0) + 1
    document = Metadata(Snapshot(version, expires=now + lifetime(SNAPSHOT), meta=listed))
    _write(metadata / f"{version}.{SNAPSHOT}.json", document, root, signers, disk)


def write_timestamp(
    metadata: Path, root: Root, signers: Sequence[Signer], now: datetime, disk: Disk
) -> None:
    """Write the next timestamp for the newest snapshot; from here on devices see it.

    Raises:
        TrustError: The signers are not the timestamp role's; nothing was written.
    """
    path = metadata / f"{TIMESTAMP}.json"
    before = read_timestamp(metadata, disk).signed.version if disk.exists(path) else 0
    snapshot = latest_version(metadata, SNAPSHOT, disk)
    listed = _meta_file(metadata / f"{snapshot}.{SNAPSHOT}.json", snapshot, disk)
    expires = now + lifetime(TIMESTAMP)
    document = Metadata(Timestamp(before + 1, expires=expires, snapshot_meta=listed))
    _write(path, document, root, signers, disk)


def _write(
    path: Path, document: Metadata[Any], root: Root, signers: Sequence[Signer], disk: Disk
) -> None:
    role = document.signed.type
    documents.approve(role, document, signers, root)
    documents.require_approvals(role, document, root)
    disk.write_atomic(path, document.to_bytes(), mode=0o644)


def _latest(metadata: Path, disk: Disk) -> dict[str, int]:
    matches = [_VERSIONED.fullmatch(path.name) for path in disk.list(metadata)]
    versions: dict[str, int] = {}
    for match in matches:
        if match:
            role = match.group(2)
            versions[role] = max(versions.get(role, 0), int(match.group(1)))
    return versions


def _meta_file(path: Path, version: int, disk: Disk) -> MetaFile:
    return MetaFile.from_data(version, disk.read(path, _LIMIT), ["sha256"])
