"""The identity folder of a device."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import ConfigError, KeyUnavailableError
from agent.trust.identity import create_identity, load_identity
from agent.trust.keys import load_private

if TYPE_CHECKING:
    from pathlib import Path


def test_two_private_keys_and_a_request_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    identity = create_identity(folder, "cam-1")
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    secret = {name for name, mode in names.items() if mode == 0o600}
    assert secret == {"device.key", "tls.key"}
    assert set(names) - secret == {"key.json", "tls.csr"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert identity.key.public_key == load_identity(folder, "cam-1").key.public_key


def test_the_request_names_the_device_and_is_for_the_tls_key(tmp_path: Path) -> None:
    create_identity(tmp_path / "identity", "cam-1")
    request = x509.load_pem_x509_csr((tmp_path / "identity" / "tls.csr").read_bytes())
    assert request.is_signature_valid
    common = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in common] == ["cam-1"]
    public = request.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public == load_private(tmp_path / "identity" / "tls.key").public_key()


def test_the_grant_key_and_the_tls_key_are_different(tmp_path: Path) -> None:
    create_identity(tmp_path, "cam-1")
    assert (tmp_path / "device.key").read_bytes() != (tmp_path / "tls.key").read_bytes()


def test_making_it_again_keeps_the_keys(tmp_path: Path) -> None:
    first = create_identity(tmp_path, "cam-1")
    keys = [(tmp_path / name).read_bytes() for name in ("device.key", "tls.key")]
    assert create_identity(tmp_path, "cam-1").key.public_key == first.key.public_key
    assert [(tmp_path / name).read_bytes() for name in ("device.key", "tls.key")] == keys


def test_exposed_and_missing_keys_are_told_apart(tmp_path: Path) -> None:
    create_identity(tmp_path, "cam-1")
    (tmp_path / "tls.key").chmod(0o644)
    with pytest.raises(ConfigError):
        load_identity(tmp_path, "cam-1")
    (tmp_path / "tls.key").unlink()
    with pytest.raises(KeyUnavailableError):
        load_identity(tmp_path, "cam-1")


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    identity = create_identity(tmp_path, "cam-1")
    assert b"PRIVATE" not in identity.request_pem
    assert "PRIVATE" not in repr(identity)
