"""The audit record outside the device: exported, verified, and its head signed (attack 56)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import StorageError, TrustError
from agent.trust.audit import (
    GENESIS,
    Trail,
    check_chain,
    check_signature,
    export,
    find_head,
    read_export,
    read_trail,
)
from agent.trust.keys import load_private
from agent.trust.ledger import Ledger
from tests.parts.certificates import Authority


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "commands.db"
    ledger = Ledger(path)
    for number in range(1, 6):
        ledger.record("test", f"row {number}", now_ms=number)
    ledger.close()
    return path


def again(trail: Trail) -> Trail:
    """The record after a journey as a file."""
    return read_export(export(trail, "cam-1", None), "export")[1]


def test_an_export_is_the_whole_record(path: Path) -> None:
    trail = again(read_trail(path))
    check_chain(trail)
    assert [row.text for row in trail.rows] == [f"row {number}" for number in range(1, 6)]


def test_a_record_in_use_can_be_read_too(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record("test", "row 6")
    trail = read_trail(path)
    ledger.close()
    assert (len(trail.rows), trail.head) == (6, trail.rows[-1].hash)


@pytest.mark.parametrize(
    ("tampering", "row"),
    [("edited", 3), ("removed", 3), ("cut off", 5), ("added", 6), ("swapped", 2)],
)
def test_the_first_bad_row_is_named(path: Path, tampering: str, row: int) -> None:
    trail = read_trail(path)
    rows = list(trail.rows)
    match tampering:
        case "edited":
            rows[2] = replace(rows[2], text="nothing happened")
        case "removed":
            del rows[2]
        case "cut off":
            del rows[4]
        case "added":
            rows.append(replace(rows[4], number=6))
        case _:
            rows[1], rows[2] = rows[2], rows[1]
    with pytest.raises(TrustError, match=f"row {row} ") as caught:
        check_chain(again(Trail(rows, trail.head)))
    assert caught.value.code == "trust.audit"


def test_a_head_that_was_kept_is_found_and_a_record_made_anew_is_noticed(
    path: Path, tmp_path: Path
) -> None:
    trail = read_trail(path)
    assert find_head(trail, trail.rows[2].hash) == 3
    assert find_head(trail, GENESIS) == 0
    ledger = Ledger(tmp_path / "other.db")
    ledger.record("test", "another story", now_ms=1)
    ledger.close()
    anew = read_trail(tmp_path / "other.db")
    check_chain(anew)
    with pytest.raises(TrustError) as caught:
        find_head(anew, trail.head)
    assert caught.value.code == "trust.audit_head"


def test_the_head_is_signed_by_the_device_and_nobody_else(path: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.client("cam-1")
    own.key.chmod(0o600)
    certificate = own.certificate.read_bytes()
    head, _ = read_export(export(read_trail(path), "cam-1", load_private(own.key)), "export")
    check_signature(certificate, "cam-1", head.head, head.signature)
    stranger = export(read_trail(path), "cam-1", ec.generate_private_key(ec.SECP256R1()))
    forged, _ = read_export(stranger, "export")
    for device, value, signature in (
        ("cam-2", head.head, head.signature),
        ("cam-1", GENESIS, head.signature),
        ("cam-1", head.head, forged.signature),
        ("cam-1", head.head, b""),
    ):
        with pytest.raises(TrustError) as caught:
            check_signature(certificate, device, value, signature)
        assert caught.value.code == "trust.audit_signature"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]\n", b'{"v":1,"device":"a","rows":0,"head":""}\n{}\n']
)
def test_what_is_no_export_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        read_export(data, "export")
    assert caught.value.code == "trust.malformed"


def test_without_a_record_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no audit record"):
        read_trail(tmp_path / "none.db")
