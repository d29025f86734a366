"""`key:` in the operator's file, and the choice of a store for a new device."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.config import load_config
from agent.errors import ConfigError, KeyUnavailableError
from agent.schema.keystore import (
    CredentialKeyConfig,
    FileKeyConfig,
    Kem,
    Pkcs11KeyConfig,
    PluginKeyConfig,
    Tpm2KeyConfig,
)
from agent.trust.grant import unwrap, wrap
from agent.trust.keys import FileKey
from agent.trust.rotation import challenge, check, rotate
from agent.trust.stores import GROUP, key_store
from agent.trust.stores.choice import StoreFacts, choose_store, read_facts
from agent.trust.stores.file import FileStore, new_key

HEAD = "schema: 1\ndevice: {id: cam-1, class: shop}\nbroker: {host: b, allow_plaintext: true}\n"


def read(folder: Path, key: str) -> Any:
    path = folder / "vigil.yaml"
    path.write_text(HEAD + key)
    return load_config(path).key


def test_the_old_form_is_still_a_file(tmp_path: Path) -> None:
    assert read(tmp_path, "") == FileKeyConfig(path=str(tmp_path / "identity/device.key"))
    assert read(tmp_path, "key: my.key") == FileKeyConfig(path=str(tmp_path / "my.key"))
    assert read(tmp_path, "key: /a/my.key") == FileKeyConfig(path="/a/my.key")


def test_every_store_is_read_with_absolute_paths(tmp_path: Path) -> None:
    assert read(tmp_path, "key: {store: file, path: k, kem: x-wing}") == FileKeyConfig(
        path=str(tmp_path / "k"), kem=Kem.X_WING
    )
    text = "key: {store: pkcs11, module: /l.so, token: t, pin_file: 'credential:pin'}"
    assert read(tmp_path, text) == Pkcs11KeyConfig(
        module="/l.so", token="t", pin_file="credential:pin"
    )
    found = read(tmp_path, "key: {store: tpm2, blob: b, pin_file: p}")
    assert (found.blob, found.pin_file) == (str(tmp_path / "b"), str(tmp_path / "p"))
    assert read(tmp_path, "key: {store: credential}") == CredentialKeyConfig()


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("key: {store: tpm}", "$.key.store"),
        ("key: {path: a}", "$.key"),
        ("key: 3", "$.key"),
        ("key: {store: pkcs11, token: t, pin_file: p}", "$.key"),
        ("key: {store: file, kem: rsa}", "$.key.kem"),
        ("key: {store: file, pin: 1234}", "$.key"),
        ("key: {store: tpm2, floor_index: 5}", "$.key.floor_index"),
        ("key: {store: credential, name: ../x}", "$.key.name"),
    ],
)
def test_a_wrong_store_is_named_by_its_place(tmp_path: Path, key: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, key)
    assert f"at {place}:" in str(caught.value)
    assert "1234" not in caught.value.diagnostics()


# the choice -----------------------------------------------------------------------------------------

TOKEN = {"module": "/l.so", "token": "t", "pin_file": "/p"}


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        (StoreFacts(), {}, FileKeyConfig),
        (StoreFacts(credentials=True), {}, CredentialKeyConfig),
        (StoreFacts(credentials=True, pkcs11=True), {}, CredentialKeyConfig),
        (StoreFacts(credentials=True, pkcs11=True), TOKEN, Pkcs11KeyConfig),
        (StoreFacts(credentials=True, pkcs11=True, tpm=True), TOKEN, Tpm2KeyConfig),
        (StoreFacts(), TOKEN, FileKeyConfig),
    ],
)
def test_the_best_store_present_is_chosen(
    facts: StoreFacts, options: dict[str, str], expected: type
) -> None:
    assert isinstance(choose_store("auto", options, facts), expected)


def test_an_operator_may_tell_the_store(tmp_path: Path) -> None:
    facts = StoreFacts(tpm=True)
    assert choose_store("file", {"kem": "x-wing"}, facts) == FileKeyConfig(kem=Kem.X_WING)
    index = choose_store("tpm2", {"floor_index": "22020120"}, facts)
    assert isinstance(index, Tpm2KeyConfig)
    assert index.floor_index == 22020120
    assert read_facts(tmp_path) == StoreFacts(pkcs11=read_facts(tmp_path).pkcs11)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [("vault", {}, "tpm2"), ("file", {"pin": "1"}, "pin"), ("pkcs11", {"token": "t"}, "module")],
)
def test_a_store_or_option_that_is_none_is_named(
    name: str, options: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        choose_store(name, options, StoreFacts())


# third parties --------------------------------------------------------------------------------------


def test_a_third_party_adds_a_store_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = importlib.metadata.EntryPoint("acme", f"{__name__}:AcmeStore", GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])
    monkeypatch.setattr("importlib.import_module", lambda _: _Module)
    config = read(tmp_path, "key: {store: plugin, name: acme, options: {slot: 3}}")
    assert config == PluginKeyConfig(name="acme", options={"slot": 3})
    assert str(key_store(config)) == "acme store in slot 3"


class _Module:
    @staticmethod
    def AcmeStore(config: PluginKeyConfig, _disk: object) -> str:  # noqa: N802 - a class
        return f"acme store in slot {config.options['slot']}"


# X-Wing ---------------------------------------------------------------------------------------------

PLACE = ("shop/yolo/1", "shop", "cam-1")


def store_of(folder: Path, kem: Kem) -> FileStore:
    return FileStore(FileKeyConfig(path=str(folder / f"{kem.value}.key"), kem=kem))


def test_x_wing_and_p256_are_not_mixed(tmp_path: Path) -> None:
    hybrid, curve = (store_of(tmp_path, kem).create() for kem in (Kem.X_WING, Kem.P256))
    for grant, key, other in (
        (wrap(b"k" * 32, hybrid.public_bytes, *PLACE), hybrid, curve),
        (wrap(b"k" * 32, curve.public_bytes, *PLACE), curve, hybrid),
    ):
        assert unwrap(grant, key, *PLACE) == b"k" * 32
        with pytest.raises(Exception, match="kind") as caught:
            unwrap(grant, other, *PLACE)
        assert caught.value.code == "trust.other_kem"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kem", list(Kem))
def test_a_key_of_the_other_kind_is_named(tmp_path: Path, kem: Kem) -> None:
    other = next(one for one in Kem if one is not kem)
    store = store_of(tmp_path, kem)
    (tmp_path / f"{kem.value}.key").write_bytes(new_key(other))
    (tmp_path / f"{kem.value}.key").chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        store.open()
    assert caught.value.code == "key.other_kem"
    assert f"kem: {other.value}" in caught.value.diagnostics()


@pytest.mark.parametrize(
    "content",
    [b"", new_key(Kem.X_WING)[:200], new_key(Kem.P256) * 2, b"-----BEGIN PRIVATE KEY-----" * 2],
)
def test_a_file_that_is_no_hybrid_key_is_named(tmp_path: Path, content: bytes) -> None:
    store = store_of(tmp_path, Kem.X_WING)
    (tmp_path / "x-wing.key").write_bytes(content)
    (tmp_path / "x-wing.key").chmod(0o600)
    with pytest.raises(ConfigError, match=r"x-wing\.key"):
        store.open()


# rotation, as the fleet sees it ---------------------------------------------------------------------


def test_a_stranger_cannot_have_a_key_replaced(tmp_path: Path) -> None:
    store = store_of(tmp_path, Kem.P256)
    own, stranger = store.create(), FileKey.generate()
    for public, device in ((stranger.public_bytes, "cam-1"), (own.public_bytes, "cam-2")):
        with pytest.raises(Exception, match="not made for this key"):
            rotate(store, challenge(public, device).sealed, "cam-1")
    assert not store.successor().exists()


def test_a_proof_is_for_one_key_and_one_challenge(tmp_path: Path) -> None:
    store = store_of(tmp_path, Kem.P256)
    asked = challenge(store.create().public_bytes, "cam-1")
    rotation = rotate(store, asked.sealed, "cam-1")
    assert rotate(store, asked.sealed, "cam-1") == rotation
    check(asked.secret, rotation.public_key, "cam-1", rotation.proof)
    other = FileKey.generate().public_bytes
    for secret, public, device in (
        (os.urandom(32), rotation.public_key, "cam-1"),
        (asked.secret, other, "cam-1"),
        (asked.secret, rotation.public_key, "cam-2"),
    ):
        with pytest.raises(Exception, match="vouch"):
            check(secret, public, device, rotation.proof)


# systemd credentials --------------------------------------------------------------------------------


@pytest.fixture
def encrypted(tmp_path: Path) -> CredentialKeyConfig:
    if shutil.which("systemd-creds") is None or os.geteuid() != 0:
        pytest.skip("needs systemd-creds and root")
    probe = ["systemd-creds", "--name=x", "encrypt", "-", "-"]
    if subprocess.run(probe, input=b"x", capture_output=True, check=False).returncode != 0:
        pytest.skip("systemd-creds cannot encrypt on this machine")
    return CredentialKeyConfig(name="vigil-test-key", encrypted=str(tmp_path / "store/key.cred"))


def test_a_credential_is_encrypted_at_once_and_never_lies_in_plaintext(
    encrypted: CredentialKeyConfig, tmp_path: Path
) -> None:
    made = key_store(encrypted).create()
    assert key_store(encrypted).create().public_bytes == made.public_bytes
    assert key_store(encrypted).open().public_bytes == made.public_bytes
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["key.cred"]
    assert b"PRIVATE" not in files[0].read_bytes()


def test_a_credential_is_replaced_under_the_same_name(encrypted: CredentialKeyConfig) -> None:
    store = key_store(encrypted)
    old, new = store.create().public_bytes, store.successor().create().public_bytes
    assert old != new
    store.promote()
    assert key_store(encrypted).open().public_bytes == new
    assert not store.successor().exists()


def test_a_credential_of_another_name_is_not_taken(encrypted: CredentialKeyConfig) -> None:
    key_store(encrypted).create()
    other = CredentialKeyConfig(name="another", encrypted=encrypted.encrypted)
    with pytest.raises(KeyUnavailableError) as caught:
        key_store(other).open()
    assert caught.value.code == "key.no_credentials"


def test_outside_of_the_service_a_missing_credential_says_what_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(KeyUnavailableError) as caught:
        key_store(CredentialKeyConfig(encrypted=str(tmp_path / "none"))).open()
    assert "LoadCredentialEncrypted" in caught.value.diagnostics()
