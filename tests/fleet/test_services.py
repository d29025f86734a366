"""Key service, block server, registry, authority and access rules against hostile and honest requests."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError, StorageError, TrustError
from agent.fleet import keys
from agent.fleet.access import device_may_publish, device_may_receive, matches
from agent.fleet.authority import FleetAuthority
from agent.fleet.blocks import RETRY_AFTER_MS, Admission, BlockServer, busy
from agent.fleet.registry import DeviceRecord, Invitation, Registry
from agent.schema import blocks
from agent.schema.document import to_json
from agent.schema.messages import KeyRequest
from agent.trust.identity import create_identity

DEK = bytes(range(32))
RELEASE = "gate/people/1.0"
ID = "0011223344556677"
RECORD = DeviceRecord("cam-1", "gate", (), b"\x04" * 65, "1f")


def block_request(**fields: Any) -> bytes:
    return json.dumps(
        {"id": ID, "p": "targets/models/big.bin", "o": 0, "l": 1024} | fields
    ).encode()


def key_request(release: str = RELEASE) -> bytes:
    return to_json(KeyRequest(v=1, id="request-1", release=release))


# blocks ---------------------------------------------------------------------------------------------


def test_a_block_is_the_file_at_its_offset(fleet: Any) -> None:
    reply = BlockServer(fleet.public).answer("cam-1", block_request(o=1000, l=4096))
    whole = (fleet.public / "targets/models/big.bin").read_bytes()
    assert (reply.status, reply.offset, reply.total) == (blocks.OK, 1000, len(whole))
    assert reply.id == bytes.fromhex(ID)
    assert reply.data == whole[1000:5096]


def test_the_last_block_is_as_short_as_the_file(fleet: Any) -> None:
    whole = (fleet.public / "targets/models/big.bin").read_bytes()
    reply = BlockServer(fleet.public).answer("cam-1", block_request(o=len(whole) - 3))
    assert (reply.status, reply.data) == (blocks.OK, whole[-3:])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"p": "../fleet.db"}, blocks.NOT_FOUND),
        ({"p": "targets/../../fleet.db"}, blocks.NOT_FOUND),
        ({"p": "/etc/passwd"}, blocks.NOT_FOUND),
        ({"p": "targets/models/big.bin\0.txt"}, blocks.NOT_FOUND),
        ({"p": "a" * 3000}, blocks.NOT_FOUND),
        ({"p": ""}, blocks.NOT_FOUND),
        ({"p": "targets"}, blocks.NOT_FOUND),
        ({"p": "targets/link"}, blocks.NOT_FOUND),
        ({"p": "targets/pipe"}, blocks.NOT_FOUND),
        ({"p": "nothing"}, blocks.NOT_FOUND),
        ({"o": 1536 * 1024}, blocks.OUT_OF_RANGE),
        ({"o": 2**53}, blocks.OUT_OF_RANGE),
        ({"o": -1}, blocks.BAD_REQUEST),
        ({"o": 2**64}, blocks.BAD_REQUEST),
        ({"o": 1.5}, blocks.BAD_REQUEST),
        ({"o": "0"}, blocks.BAD_REQUEST),
        ({"l": 0}, blocks.BAD_REQUEST),
        ({"l": -5}, blocks.BAD_REQUEST),
        ({"l": 256 * 1024 + 1}, blocks.BAD_REQUEST),
        ({"l": True}, blocks.BAD_REQUEST),
        ({"id": "xyz"}, blocks.BAD_REQUEST),
        ({"id": "00" * 9}, blocks.BAD_REQUEST),
        ({"id": 7}, blocks.BAD_REQUEST),
        ({"p": ["a"]}, blocks.BAD_REQUEST),
        ({"extra": 1}, blocks.BAD_REQUEST),
        ({"p": "a" * 5000}, blocks.BAD_REQUEST),
    ],
)
def test_hostile_block_requests_get_a_status_and_no_bytes(
    fleet: Any, fields: dict[str, Any], status: int
) -> None:
    (fleet.public / "targets/link").symlink_to(fleet.folder / "fleet.db")
    os.mkfifo(fleet.public / "targets/pipe")
    reply = BlockServer(fleet.public).answer("cam-1", block_request(**fields))
    assert (reply.status, reply.data) == (status, b"")


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer_without_data(payload: bytes) -> None:
    assert BlockServer(Path("/nonexistent")).answer("cam-1", payload).data == b""


def test_more_devices_than_places_are_told_to_come_back(fleet: Any) -> None:
    now = [0]
    server = BlockServer(fleet.public, devices=2, clock=lambda: now[0])
    statuses = [server.answer(f"cam-{n}", block_request()).status for n in (1, 2, 3, 1)]
    assert statuses == [blocks.OK, blocks.OK, blocks.BUSY, blocks.OK]
    assert server.answer("cam-3", block_request()).total == RETRY_AFTER_MS
    now[0] += 11_000_000_000
    assert server.answer("cam-3", block_request()).status == blocks.OK


def test_a_device_keeps_its_place_while_it_transfers() -> None:
    now = [0]
    admission = Admission(1, lambda: now[0])
    for _ in range(5):
        assert admission.admit("cam-1")
        now[0] += 9_000_000_000
        assert not admission.admit("cam-2")


def test_what_waits_too_long_is_told_to_come_back() -> None:
    later = busy(block_request())
    assert (later.id.hex(), later.status, later.total) == (ID, blocks.BUSY, RETRY_AFTER_MS)
    assert (keys.busy(key_request()).id, keys.busy(key_request()).status) == ("request-1", 503)
    assert busy(b"?").data == b""
    assert keys.busy(b"?").status == keys.BAD_REQUEST


# registry and authority -----------------------------------------------------------------------------


def test_a_token_works_once_for_its_device_until_it_expires(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "fleet.db")
    invitation = Invitation("cam-1", "gate", ("north",))
    registry.put_token("secret", invitation, expires_ms=1000)
    for token, device, now_ms in (
        ("other", "cam-1", 0),
        ("secret", "cam-2", 0),
        ("secret", "cam-1", 1000),
    ):
        with pytest.raises(TrustError):
            registry.redeem(token, device, now_ms)
    assert registry.redeem("secret", "cam-1", 999) == invitation
    with pytest.raises(TrustError):
        registry.redeem("secret", "cam-1", 999)
    registry.close()
    assert b"secret" not in (tmp_path / "fleet.db").read_bytes()


def test_the_registry_is_private_and_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    registry = Registry(path)
    registry.put_device(RECORD)
    registry.put_release_key(RELEASE, DEK)
    registry.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Registry(path)
    assert again.devices() == [RECORD]
    assert again.release_key(RELEASE) == DEK
    with pytest.raises(ConfigError):
        again.revoke("nobody")
    again.close()


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"fleet\.db"):
        Registry(tmp_path / "fleet.db")


def test_a_certificate_names_the_device_and_ends(tmp_path: Path) -> None:
    authority = FleetAuthority.create(tmp_path / "ca")
    request_pem = create_identity(tmp_path / "device", "cam-1").request_pem
    issued = authority.sign_csr(request_pem, "cam-1")
    certificate = x509.load_pem_x509_certificate(issued.cert_pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.ca_pem))
    assert certificate.subject.rfc4514_string() == "CN=cam-1"
    assert f"{certificate.serial_number:x}" == issued.serial
    assert certificate.not_valid_after_utc > datetime.now(timezone.utc)
    assert (tmp_path / "ca/ca.key").stat().st_mode & 0o777 == 0o600
    assert FleetAuthority.load(tmp_path / "ca").ca_pem == authority.ca_pem


def test_requests_for_another_name_or_with_a_broken_signature_are_not_signed(
    tmp_path: Path,
) -> None:
    authority = FleetAuthority.create(tmp_path / "ca")
    request_pem = create_identity(tmp_path / "device", "cam-1").request_pem
    with pytest.raises(TrustError):
        authority.sign_csr(request_pem, "cam-2")
    with pytest.raises(TrustError):
        authority.sign_csr(b"-----BEGIN NOTHING-----", "cam-1")
    with pytest.raises(ConfigError):
        FleetAuthority.create(tmp_path / "ca")


# access ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("vigil/1/d/cam-1/state", {"publish"}),
        ("vigil/1/d/cam-1/event/door", {"publish"}),
        ("vigil/1/d/cam-1/blk/req", {"publish"}),
        ("vigil/1/d/cam-1/blk/rsp", {"receive"}),
        ("vigil/1/d/cam-1/cmd", {"receive"}),
        ("vigil/1/hint", {"receive"}),
        ("vigil/1/g/north/cmd", {"receive"}),
        ("vigil/1/g/south/cmd", set()),
        ("vigil/1/d/cam-2/state", set()),
        ("vigil/1/d/cam-2/cmd", set()),
        ("vigil/1/d/+/cmd", set()),
        ("vigil/1/#", set()),
        ("#", set()),
        ("vigil/1/d/cam-1/#", set()),
    ],
)
def test_a_device_uses_only_its_own_topics(topic: str, allowed: set[str]) -> None:
    found = {
        "publish": device_may_publish("cam-1", topic),
        "receive": device_may_receive("cam-1", {"north"}, topic),
    }
    assert {action for action, is_allowed in found.items() if is_allowed} == allowed


@pytest.mark.parametrize(("topic", "pattern"), [("a/b", "a/+"), ("a/b/c", "a/#"), ("a", "a")])
def test_filters_match_as_mqtt_says(topic: str, pattern: str) -> None:
    assert matches(topic, pattern)


@pytest.mark.parametrize(
    ("topic", "pattern"), [("a", "a/+"), ("b/c", "a/#"), ("a/b", "a"), ("a/b/c", "a/+")]
)
def test_filters_match_nothing_else(topic: str, pattern: str) -> None:
    assert not matches(topic, pattern)
