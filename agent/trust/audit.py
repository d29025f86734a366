"""The audit record apart from the device: read from its database or an export, and verified row by row.

row hash = SHA-256(previous hash ‖ JSON of [number, time, kind, text]). A chain shows what was changed inside it;
that it was not made anew as a whole shows only a head that somebody else keeps: the state message carries it,
signed with the device's TLS key, which is the device's one key that can sign: grant keys in tokens and TPMs only
do ECDH.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import StorageError, TrustError
from agent.schema.document import to_json, trusted_json
from agent.schema.values import Counter, Struct

GENESIS = hashlib.sha256(b"vigil/audit/1").hexdigest()
EXPORT_VERSION = 1
MAX_EXPORT_BYTES = 1 << 30


@dataclass(frozen=True)
class AuditRow:
    """One row of the audit record; `hash` chains it to the row before."""

    number: int
    at_ms: int
    kind: str
    text: str
    hash: str


@dataclass(frozen=True)
class Trail:
    """All rows in their order, and the head that was kept apart from them."""

    rows: Sequence[AuditRow]
    head: str


class ExportHead(Struct):
    """First line of an export; `signature` is over `head_message`, empty where no key was at hand."""

    v: int
    device: str
    rows: Counter
    head: str
    signature: bytes = b""


class _ExportRow(Struct, array_like=True):
    number: int
    at_ms: int
    kind: str
    text: str
    hash: str


def chained(last: str, row: AuditRow) -> str:
    """Return the hash of a row that follows one with the hash `last`."""
    content = json.dumps([row.number, row.at_ms, row.kind, row.text], separators=(",", ":"))
    return hashlib.sha256(last.encode() + content.encode()).hexdigest()


def check_chain(trail: Trail) -> None:
    """Check a whole record.

    Raises:
        TrustError: `trust.audit`, naming the first row that was edited, removed or cut off.
    """
    last = GENESIS
    for expected, row in enumerate(trail.rows, start=1):
        if row.number != expected or row.hash != chained(last, row):
            raise broken(expected)
        last = row.hash
    if last != trail.head:
        raise broken(len(trail.rows) + 1)


def find_head(trail: Trail, head: str) -> int:
    """Return the number of the row whose hash somebody else kept as `head`.

    Raises:
        TrustError: `trust.audit_head`: the record never had this head, so it was made anew.
    """
    if head == GENESIS:
        return 0
    for row in trail.rows:
        if row.hash == head:
            return row.number
    message = f"audit record: no row has the hash {head[:16]}…; the record was made anew or cut"
    raise TrustError(message, code="trust.audit_head")


def broken(number: int) -> TrustError:
    """Return the error that names the first bad row."""
    message = f"audit record: row {number} was edited, removed or cut off"
    hint = "compare the ledger with the controller's copy of the head"
    return TrustError(message, code="trust.audit", hint=hint)


def read_trail(path: Path) -> Trail:
    """Read a device's record from its database, which may be in use.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    if not path.exists():
        raise StorageError(f"{path}: there is no audit record", code="storage.missing")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            database.execute("begin")  # rows and head of one moment
            rows = database.execute(
                "select number, at_ms, kind, text, hash from audit order by number"
            ).fetchall()
            head = database.execute("select hash from head").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        hint = "run this as the agent's user"
        raise StorageError(f"{path}: {error}", code="storage.failed", hint=hint) from error
    return Trail([AuditRow(*row) for row in rows], str(head[0]) if head else GENESIS)


def export(trail: Trail, device: str, key: ec.EllipticCurvePrivateKey | None) -> bytes:
    """Return the record as JSON lines, its head first, signed where a key is given."""
    signature = sign_head(key, device, trail.head) if key else b""
    head = ExportHead(
        v=EXPORT_VERSION, device=device, rows=len(trail.rows), head=trail.head, signature=signature
    )
    rows = [[row.number, row.at_ms, row.kind, row.text, row.hash] for row in trail.rows]
    lines = [to_json(head), *map(to_json, rows)]
    return b"\n".join(lines) + b"\n"


def read_export(data: bytes, source: str) -> tuple[ExportHead, Trail]:
    """Read an export, unverified.

    Raises:
        TrustError: `trust.malformed`: it is none.
    """
    first, *lines = data.splitlines() or [b""]
    head = trusted_json(first, ExportHead, f"{source}, line 1")
    rows = []
    for number, line in enumerate(lines, start=2):
        row = trusted_json(line, _ExportRow, f"{source}, line {number}")
        rows.append(AuditRow(row.number, row.at_ms, row.kind, row.text, row.hash))
    return head, Trail(rows, head.head)


def sign_head(key: ec.EllipticCurvePrivateKey, device: str, head: str) -> bytes:
    """Return the ECDSA signature (P-256, SHA-256, DER) of a device's head."""
    return key.sign(head_message(device, head), ec.ECDSA(hashes.SHA256()))


def check_signature(certificate: bytes, device: str, head: str, signature: bytes) -> None:
    """Check a head's signature with the device's own TLS certificate (PEM).

    Raises:
        TrustError: `trust.audit_signature`: it is not that device's, or not of this head.
    """
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise TrustError("the certificate has no P-256 key", code="trust.audit_signature")
        public.verify(signature, head_message(device, head), ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        message = f"audit record: the head is not signed by {device} with this certificate"
        raise TrustError(message, code="trust.audit_signature") from error


def head_message(device: str, head: str) -> bytes:
    """Return what is signed."""
    return f"vigil/audit-head/1\n{device}\n{head}\n".encode()
