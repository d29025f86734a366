"""What the registry keeps, and what the authority signs."""

from __future__ import annotations

import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography import x509

from agent.errors import ConfigError, StorageError, TrustError
from agent.fleet.authority import FleetAuthority
from agent.fleet.registry import DeviceRecord, Registry
from agent.fleet.tokens import Invitation
from agent.trust.identity import create_identity

DEK = bytes(range(32))
RELEASE = "gate/people/1.0"
RECORD = DeviceRecord("cam-1", "gate", (), b"\x04" * 65, "1f")


def test_a_token_works_once_for_its_device_until_it_expires(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "fleet.db")
    invitation = Invitation("cam-1", "gate", ("north",))
    registry.tokens.put("secret", invitation, expires_ms=1000)
    for token, device, now_ms in (
        ("other", "cam-1", 0),
        ("secret", "cam-2", 0),
        ("secret", "cam-1", 1000),
    ):
        with pytest.raises(TrustError):
            registry.tokens.redeem(token, device, "keys", now_ms)
    assert registry.tokens.redeem("secret", "cam-1", "keys", 999) == invitation
    with pytest.raises(TrustError):
        registry.tokens.redeem("secret", "cam-1", "other keys", 999)
    registry.close()
    assert b"secret" not in (tmp_path / "fleet.db").read_bytes()


def test_revoking_a_device_voids_its_invitations(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "fleet.db")
    registry.put_device(RECORD)
    registry.tokens.put("spent", Invitation("cam-1", "gate", ()), expires_ms=1000)
    registry.tokens.put("unused", Invitation("cam-1", "gate", ()), expires_ms=1000)
    registry.tokens.redeem("spent", "cam-1", "keys", 0)
    registry.revoke("cam-1")
    for token in ("spent", "unused"):
        with pytest.raises(TrustError, match="unknown"):
            registry.tokens.redeem(token, "cam-1", "keys", 0)
    registry.close()


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
