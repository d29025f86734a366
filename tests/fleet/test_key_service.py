"""The key service: who gets a release's key, who does not, and that every answer is on record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError, TrustError
from agent.fleet import keys
from agent.fleet.keys import KeyService
from agent.fleet.registry import DeviceRecord
from agent.models.opening import Opener
from agent.models.store import ModelStore
from agent.schema.document import to_json
from agent.schema.keystore import FileKeyConfig
from agent.schema.messages import KeyRequest
from agent.trust.grant import KEM_X_WING, unwrap
from agent.trust.hybrid import HybridKey
from agent.trust.keys import FileKey
from agent.trust.rotation import challenge, check, rotate
from agent.trust.stores.file import FileStore
from tests.parts.releases import DEVICE, DEVICE_CLASS, delivery

DEK = bytes(range(32))
RELEASE = "gate/people/1.0"
RECORD = DeviceRecord("cam-1", "gate", (), b"\x04" * 65, "1f")


def key_request(release: str = RELEASE) -> bytes:
    return to_json(KeyRequest(v=1, id="request-1", release=release))


@pytest.mark.parametrize(
    ("record", "release", "dek", "status"),
    [
        (RECORD, RELEASE, DEK, keys.OK),
        (None, RELEASE, DEK, keys.FORBIDDEN),
        (DeviceRecord("cam-1", "gate", (), b"", "1f", revoked=True), RELEASE, DEK, keys.FORBIDDEN),
        (RECORD, "yard/people/1.0", DEK, keys.FORBIDDEN),
        (RECORD, "gateway/people/1.0", DEK, keys.FORBIDDEN),
        (RECORD, RELEASE, None, keys.NOT_FOUND),
    ],
)
def test_a_key_is_given_only_to_a_registered_device_of_the_right_class(
    record: DeviceRecord | None, release: str, dek: bytes | None, status: int
) -> None:
    assert keys.decide(record, release, dek)[0] == status


def test_the_grant_opens_only_with_the_devices_own_key(fleet: Any) -> None:
    own, other = fleet.register("cam-8"), fleet.register("cam-9")
    reply = KeyService(fleet.registry).answer("cam-8", key_request())
    assert (reply.status, reply.id) == (200, "request-1")
    assert unwrap(reply.grant, own, RELEASE, "gate", "cam-8") == DEK
    with pytest.raises(TrustError):
        unwrap(reply.grant, other, RELEASE, "gate", "cam-8")


def test_a_revoked_device_gets_no_further_key(fleet: Any) -> None:
    service = KeyService(fleet.registry)
    assert service.answer("cam-1", key_request()).status == keys.OK
    fleet.registry.revoke("cam-1")
    reply = service.answer("cam-1", key_request())
    assert (reply.status, reply.grant) == (keys.FORBIDDEN, b"")


def test_a_revoked_device_keeps_what_is_installed(fleet: Any, tmp_path: Path) -> None:
    key = FileKey.generate()
    fleet.registry.put_device(DeviceRecord(DEVICE, DEVICE_CLASS, (), key.public_bytes, "0"))
    installed = delivery(key, b"weights", "1.2").install(ModelStore(tmp_path / "models"))
    fleet.registry.revoke(DEVICE)
    reply = KeyService(fleet.registry).answer(DEVICE, key_request("shop/yolo/1.3"))
    assert (reply.status, reply.grant) == (keys.FORBIDDEN, b"")
    os.close(Opener(key, DEVICE, DEVICE_CLASS).payload(installed))


def test_every_grant_and_refusal_is_logged(fleet: Any) -> None:
    service = KeyService(fleet.registry)
    service.answer("cam-1", key_request())
    service.answer("cam-1", key_request("gate/unknown/1"))
    fleet.registry.revoke("cam-1")
    service.answer("cam-1", key_request())
    service.answer("stranger", key_request())
    logged = fleet.registry.grants("cam-1")
    assert [(row.release, row.status) for row in logged] == [
        (RELEASE, keys.FORBIDDEN),
        ("gate/unknown/1", keys.NOT_FOUND),
        (RELEASE, keys.OK),
    ]
    assert "revoked" in logged[0].reason
    assert logged[0].at_ms >= logged[2].at_ms > 0
    assert [row.status for row in fleet.registry.grants("stranger")] == [keys.FORBIDDEN]


def test_a_device_with_x_wing_gets_a_hybrid_grant(fleet: Any) -> None:
    key = HybridKey.generate()
    fleet.registry.put_device(DeviceRecord("cam-7", "gate", (), key.public_bytes, "0"))
    reply = KeyService(fleet.registry).answer("cam-7", key_request())
    assert reply.grant[0] == KEM_X_WING
    assert unwrap(reply.grant, key, RELEASE, "gate", "cam-7") == DEK
    assert len(to_json(reply)) < 4096


def test_a_rotated_key_gets_the_next_grant(fleet: Any, tmp_path: Path) -> None:
    store = FileStore(FileKeyConfig(path=str(tmp_path / "device.key")))
    old = store.create().public_bytes
    fleet.registry.put_device(DeviceRecord("cam-7", "gate", (), old, "0"))
    asked = challenge(old, "cam-7")
    rotation = rotate(store, asked.sealed, "cam-7")
    check(asked.secret, rotation.public_key, "cam-7", rotation.proof)
    fleet.registry.rotate_key("cam-7", old, rotation.public_key)
    store.promote()
    reply = KeyService(fleet.registry).answer("cam-7", key_request())
    assert unwrap(reply.grant, store.open(), RELEASE, "gate", "cam-7") == DEK
    with pytest.raises(ConfigError):  # the same answer again
        fleet.registry.rotate_key("cam-7", old, rotation.public_key)
    fleet.registry.revoke("cam-7")
    with pytest.raises(ConfigError):
        fleet.registry.rotate_key("cam-7", rotation.public_key, old)


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"{}", b'{"v":1,"id":"x","release":1}', b"\xff" * 9, b" " * 5000]
)
def test_malformed_key_requests_are_answered_and_give_nothing(fleet: Any, payload: bytes) -> None:
    reply = KeyService(fleet.registry).answer("cam-1", payload)
    assert (reply.status, reply.grant) == (keys.BAD_REQUEST, b"")
