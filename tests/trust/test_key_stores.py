"""The contract of a key store, for every kind of it. Numbers in brackets are those of the attack list."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import KeyUnavailableError, TrustError
from agent.schema.keystore import (
    CredentialKeyConfig,
    FileKeyConfig,
    Kem,
    KeyConfig,
)
from agent.trust.grant import unwrap, wrap
from agent.trust.hybrid import HybridKey
from agent.trust.keys import DeviceKey, load_point, public_point
from agent.trust.rotation import answer, challenge, check, rewrap
from agent.trust.stores import KeyStore, key_store
from agent.trust.stores.file import new_key
from tests.parts.tokens import SoftToken, SoftTpm

DEK = b"d" * 32
PLACE = ("shop/yolo/1", "shop", "cam-1")


@dataclass(frozen=True)
class Lab:
    """A store with a key in it, and how to take the key away and bring it back."""

    config: KeyConfig
    take_away: Callable[[], None]
    bring_back: Callable[[], None]
    write_pin: Callable[[str], None] = lambda _: None

    def store(self) -> KeyStore:
        """A store as a fresh start of the agent sees it."""
        return key_store(self.config)


def file_lab(request: pytest.FixtureRequest, folder: Path) -> Lab:
    path, aside = folder / "device.key", folder / "aside"
    config = FileKeyConfig(path=str(path), kem=kem_of(request))
    return Lab(config, lambda: put(path, aside), lambda: put(aside, path))


def kem_of(request: pytest.FixtureRequest) -> Kem:
    return Kem.X_WING if request.param.endswith("x-wing") else Kem.P256


def credential_lab(request: pytest.FixtureRequest, folder: Path) -> Lab:
    """What systemd does: it decrypts the credential into a folder and names it in the environment."""
    credentials = folder / "credentials"
    credentials.mkdir()
    config = CredentialKeyConfig(encrypted=str(folder / "encrypted"), kem=kem_of(request))
    path = credentials / config.name
    path.write_bytes(new_key(config.kem))
    path.chmod(0o440)
    request.getfixturevalue("monkeypatch").setenv("CREDENTIALS_DIRECTORY", str(credentials))
    aside = folder / "aside"
    return Lab(config, lambda: put(path, aside), lambda: put(aside, path))


def pkcs11_lab(request: pytest.FixtureRequest, _: Path) -> Lab:
    token: SoftToken = request.getfixturevalue("soft_token")
    return Lab(token.config, token.pull_out, token.put_back, write_pin=token.write_pin)


def tpm2_lab(request: pytest.FixtureRequest, _: Path) -> Lab:
    tpm: SoftTpm = request.getfixturevalue("soft_tpm")
    return Lab(tpm.config, tpm.kill, tpm.start, write_pin=tpm.write_pin)


def put(source: Path, target: Path) -> None:
    source.rename(target)


LABS = {
    "file": file_lab,
    "file x-wing": file_lab,
    "credential": credential_lab,
    "credential x-wing": credential_lab,
    "pkcs11": pkcs11_lab,
    "tpm2": tpm2_lab,
}

CURVE = pytest.mark.parametrize("lab", ["file", "credential", "pkcs11", "tpm2"], indirect=True)
WITH_PIN = pytest.mark.parametrize("lab", ["pkcs11", "tpm2"], indirect=True)
# Making a credential takes root and systemd: test_credentials.
MAKERS = pytest.mark.parametrize("lab", ["file", "file x-wing", "pkcs11", "tpm2"], indirect=True)


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    made = LABS[request.param](request, tmp_path)
    made.store().create()
    return made


def use(store: KeyStore) -> None:
    """Open a grant that was made for the store's key."""
    use_for(store.open().public_bytes, store)


def use_for(public: bytes, store: KeyStore) -> None:
    assert unwrap(wrap(DEK, public, *PLACE), store.open(), *PLACE) == DEK


def curve_key(lab: Lab) -> DeviceKey:
    key = lab.store().open()
    assert not isinstance(key, HybridKey)
    return key


# what a key does ------------------------------------------------------------------------------------


def test_the_key_is_there_after_a_restart_and_made_only_once(lab: Lab) -> None:
    public = lab.store().open().public_bytes
    assert lab.store().exists()
    assert lab.store().create().public_bytes == public
    assert lab.store().open().public_bytes == public


@CURVE
def test_the_public_half_is_an_uncompressed_point(lab: Lab) -> None:
    key = curve_key(lab)
    assert len(key.public_bytes) == 65
    assert key.public_bytes[0] == 4


@CURVE
def test_both_sides_agree_on_a_secret(lab: Lab) -> None:
    key = curve_key(lab)
    for _ in range(4):
        peer = ec.generate_private_key(ec.SECP256R1())
        secret = key.exchange(public_point(peer.public_key()))
        assert secret == peer.exchange(ec.ECDH(), load_point(key.public_bytes))


def test_threads_may_share_a_key(lab: Lab) -> None:
    key = lab.store().open()
    grants = [wrap(bytes([n]) * 32, key.public_bytes, *PLACE) for n in range(12)]
    found: dict[int, bytes] = {}

    def work(first: int) -> None:
        for n in range(first, 12, 4):
            found[n] = unwrap(grants[n], key, *PLACE)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {n: bytes([n]) * 32 for n in range(12)}


# attacks (25, 26) -----------------------------------------------------------------------------------


def test_25_a_grant_for_something_else_is_refused(lab: Lab) -> None:
    store = lab.store()
    key = store.open()
    for place in (
        ("shop/yolo/2", "shop", "cam-1"),
        ("shop/yolo/1", "yard", "cam-1"),
        ("shop/yolo/1", "shop", "cam-2"),
    ):
        with pytest.raises(TrustError) as caught:
            unwrap(wrap(DEK, key.public_bytes, *place), key, *PLACE)
        assert caught.value.code == "trust.grant"
    use(store)


@CURVE
def test_26_a_point_off_the_curve_is_refused_and_the_key_lives_on(lab: Lab) -> None:
    key = curve_key(lab)
    off = b"\x04" + b"\xff" * 64
    for point in (b"", b"\x04" + bytes(64), b"\x00", off, bytes(65), b"\x04" * 3000):
        with pytest.raises(TrustError):
            key.exchange(point)
    assert unwrap(wrap(DEK, key.public_bytes, *PLACE), key, *PLACE) == DEK


def test_26_an_encapsulation_that_is_none_is_refused_and_the_key_lives_on(lab: Lab) -> None:
    store = lab.store()
    key = store.open()
    grant = wrap(DEK, key.public_bytes, *PLACE)
    for fill in (b"\x00", b"\xff", b"\x04"):
        with pytest.raises(TrustError):
            unwrap(grant[:1] + fill * (len(grant) - 49) + grant[-48:], key, *PLACE)
    use(store)


# the key store fails (27) ---------------------------------------------------------------------------


def test_27_a_key_that_is_gone_is_unavailable_not_tampering_and_serves_again_when_back(
    lab: Lab,
) -> None:
    public = lab.store().open().public_bytes
    lab.take_away()
    with pytest.raises(KeyUnavailableError) as caught:
        use_for(public, lab.store())
    assert caught.value.code in {"key.unavailable", "key.token_missing", "key.missing"}
    lab.bring_back()
    use(lab.store())


@WITH_PIN
def test_27_a_wrong_pin_is_named_tried_once_and_forgotten_when_it_is_corrected(lab: Lab) -> None:
    public = lab.store().open().public_bytes
    grant = wrap(DEK, public, *PLACE)
    lab.write_pin("wrong-pin")
    key = lab.store().open()
    for _ in range(12):
        with pytest.raises(KeyUnavailableError) as caught:
            unwrap(grant, key, *PLACE)
        assert caught.value.code == "key.pin_wrong"
        assert "wrong-pin" not in caught.value.diagnostics()
    lab.write_pin("2468")
    assert unwrap(grant, key, *PLACE) == DEK


# the next key ---------------------------------------------------------------------------------------


@MAKERS
def test_a_key_is_followed_by_another_and_the_old_one_is_gone(lab: Lab) -> None:
    store = lab.store()
    old = store.open().public_bytes
    assert not store.successor().exists()
    new = store.successor().create().public_bytes
    assert new != old
    assert lab.store().open().public_bytes == old
    store.promote()
    assert lab.store().open().public_bytes == new
    assert not lab.store().successor().exists()
    store.promote()
    assert lab.store().open().public_bytes == new
    use(lab.store())


@MAKERS
def test_the_old_key_vouches_for_the_new_one_and_passes_its_grants_on(lab: Lab) -> None:
    store = lab.store()
    old, new = store.open(), store.successor().create()
    asked = challenge(old.public_bytes, "cam-1")
    proof = answer(asked.sealed, old, new.public_bytes, "cam-1")
    check(asked.secret, new.public_bytes, "cam-1", proof)
    grant = rewrap(wrap(DEK, old.public_bytes, *PLACE), old, new.public_bytes, PLACE)
    store.promote()
    assert unwrap(grant, lab.store().open(), *PLACE) == DEK
