"""What is special about key files, and about the adapter that hands a key to HPKE."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from agent.errors import ConfigError, KeyUnavailableError
from agent.trust.keys import FileKey, TokenBackedKey, public_point

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_adapter_shows_only_the_public_half(tmp_path: Path) -> None:
    key = FileKey.create(tmp_path / "key")
    adapter = TokenBackedKey(key)
    assert public_point(adapter.public_key()) == key.public_bytes
    calls: list[Callable[[], Any]] = [
        adapter.private_numbers,
        lambda: adapter.private_bytes(None, None, None),
        lambda: adapter.sign(b"", None),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


# files ------------------------------------------------------------------------------------------


def test_a_file_key_is_stored_for_its_owner_only_and_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    made = FileKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileKey.load(path).public_bytes == made.public_bytes


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_modes_that_keep_others_out_are_accepted(tmp_path: Path, mode: int) -> None:
    FileKey.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    FileKey.load(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o602, 0o610])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    FileKey.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}") as caught:
        FileKey.load(tmp_path / "key")
    assert caught.value.code == "key.exposed"


def test_a_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    FileKey.create(tmp_path / "real")
    (tmp_path / "key").symlink_to(tmp_path / "real")
    with pytest.raises(KeyUnavailableError):
        FileKey.load(tmp_path / "key")


def test_a_missing_key_is_unavailable_not_tampering(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError, match="key"):
        FileKey.load(tmp_path / "key")


def _pem(private: Any, password: bytes | None = None) -> bytes:
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    pem: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return pem


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        _pem(ed25519.Ed25519PrivateKey.generate()),
        _pem(ec.generate_private_key(ec.SECP384R1())),
        _pem(ec.generate_private_key(ec.SECP256R1()), b"password"),
    ],
    ids=["empty", "text", "ed25519", "p-384", "encrypted"],
)
def test_a_file_that_is_no_p256_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"device\.key") as caught:
        FileKey.load(path)
    assert caught.value.code == "key.malformed"
    assert "PRIVATE" not in caught.value.diagnostics()


def test_a_pipe_in_place_of_a_key_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(ConfigError):
        FileKey.load(tmp_path / "key")
