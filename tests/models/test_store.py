"""Releases on disk, and opening them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import KeyUnavailableError, PackageError, StorageError, TrustError
from agent.host.memfd import read_memfd
from agent.models.opening import Opener
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.manifest import ReleaseRef
from agent.trust.keys import FileKey
from tests.parts.releases import DEVICE, DEVICE_CLASS, Delivery, delivery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = FileKey(ec.generate_private_key(ec.SECP256R1()))
ONE = delivery(KEY, b"weights one", "1.1")
TWO = delivery(KEY, b"weights two", "1.2")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


def content(fd: int) -> bytes:
    try:
        with read_memfd(fd) as view:
            return bytes(view)
    finally:
        os.close(fd)


def test_what_is_installed_is_loaded_again(store: ModelStore, tmp_path: Path) -> None:
    installed = TWO.install(store)
    assert ModelStore(tmp_path).load(TWO.ref) == installed
    assert installed.manifest.release_id == "shop/yolo/1.2"
    assert installed.variant.id == "onnxruntime-fp32-320"
    assert store.installed() == [TWO.ref]


def test_an_installed_release_opens_with_the_devices_key(store: ModelStore) -> None:
    installed = TWO.install(store)
    opener = Opener(KEY, DEVICE, DEVICE_CLASS)
    assert content(opener.payload(installed)) == b"weights two"
    assert content(opener.golden(installed)) == b"golden"


def test_no_plaintext_lies_on_the_disk(store: ModelStore, tmp_path: Path) -> None:
    installed = TWO.install(store)
    os.close(Opener(KEY, DEVICE, DEVICE_CLASS).payload(installed))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert not any(b"weights" in path.read_bytes() for path in files)


def test_installing_again_replaces_the_grant(store: ModelStore) -> None:
    TWO.install(store)
    fresh = msgspec.structs.replace
    again = Delivery(fresh(TWO.ref), TWO.manifest_bytes, TWO.files, b"another grant")
    assert again.install(store).grant_path.read_bytes() == b"another grant"


@pytest.mark.parametrize(
    ("delivered", "variant", "problem"),
    [
        (Delivery(TWO.ref, TWO.manifest_bytes + b" ", TWO.files, b""), None, "not the bytes"),
        (Delivery(TWO.ref, ONE.manifest_bytes, TWO.files, b""), None, "not the bytes"),
        (Delivery(TWO.ref, TWO.manifest_bytes, {}, b""), None, "missing"),
        (TWO, "litert-int8-320", "no variant"),
    ],
)
def test_what_is_not_as_promised_is_not_installed(
    store: ModelStore, delivered: Delivery, variant: str | None, problem: str
) -> None:
    with pytest.raises(PackageError, match=problem):
        delivered.install(store, variant or "onnxruntime-fp32-320")
    assert store.installed() == []


DAMAGES: dict[str, Callable[[InstalledRelease], object]] = {
    "payload gone": lambda r: r.payload_path.unlink(),
    "payload cut": lambda r: r.payload_path.write_bytes(r.payload_path.read_bytes()[:-1]),
    "payload changed": lambda r: r.payload_path.write_bytes(b"x" * r.variant.payload.size),
    "golden gone": lambda r: r.golden_path.unlink(),
    "golden changed": lambda r: r.golden_path.write_bytes(r.payload_path.read_bytes()),
    "grant gone": lambda r: r.grant_path.unlink(),
    "manifest gone": lambda r: (r.folder / "manifest.json").unlink(),
    "manifest changed": lambda r: (r.folder / "manifest.json").write_bytes(b"{}"),
    "manifest endless": lambda r: os.truncate(r.folder / "manifest.json", 2**33),
    "record gone": lambda r: (r.folder / "release.json").unlink(),
    "record torn": lambda r: (r.folder / "release.json").write_bytes(b'{"ref":'),
    "record of another variant": lambda r: (r.folder / "release.json").write_bytes(
        (r.folder / "release.json").read_bytes().replace(b"-320", b"-640")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_release_is_named_as_such(
    store: ModelStore, damage: Callable[[InstalledRelease], object]
) -> None:
    damage(TWO.install(store))
    with pytest.raises(PackageError) as caught:
        store.load(TWO.ref)
    assert caught.value.code == "model.damaged"


def test_a_release_that_was_never_installed_is_named(store: ModelStore) -> None:
    with pytest.raises(PackageError) as caught:
        store.load(ReleaseRef(path="models/a/b", sha256="0" * 64))
    assert caught.value.code == "model.damaged"


def test_only_what_is_to_be_kept_stays(store: ModelStore, tmp_path: Path) -> None:
    ONE.install(store)
    kept = TWO.install(store)
    store.part_path("0" * 64).write_bytes(b"half")
    (tmp_path / "releases" / "leftover").mkdir()
    store.keep_only([TWO.ref])
    assert store.installed() == [TWO.ref]
    assert store.load(TWO.ref) == kept
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {kept.payload_path, kept.golden_path, *kept.folder.iterdir()}


def test_a_damaged_release_that_is_to_be_kept_does_not_stop_the_others(store: ModelStore) -> None:
    broken = ONE.install(store)
    kept = TWO.install(store)
    (broken.folder / "manifest.json").unlink()
    store.keep_only([ONE.ref, TWO.ref])
    assert store.load(TWO.ref) == kept


# opening ----------------------------------------------------------------------------------------


def test_another_device_class_or_key_cannot_open_it(store: ModelStore) -> None:
    installed = TWO.install(store)
    other = FileKey(ec.generate_private_key(ec.SECP256R1()))
    for opener in (
        Opener(KEY, "cam-2", DEVICE_CLASS),
        Opener(KEY, DEVICE, "yard"),
        Opener(other, DEVICE, DEVICE_CLASS),
    ):
        with pytest.raises(TrustError) as caught:
            opener.payload(installed)
        assert caught.value.code == "trust.grant"


def test_the_grant_of_another_release_does_not_open_it(store: ModelStore) -> None:
    installed = Delivery(TWO.ref, TWO.manifest_bytes, TWO.files, ONE.grant).install(store)
    with pytest.raises(TrustError):
        Opener(KEY, DEVICE, DEVICE_CLASS).payload(installed)


def test_a_file_changed_after_loading_gives_nothing(store: ModelStore) -> None:
    installed = TWO.install(store)
    data = bytearray(installed.payload_path.read_bytes())
    data[-1] ^= 1
    installed.payload_path.write_bytes(bytes(data))
    with pytest.raises(TrustError) as caught:
        Opener(KEY, DEVICE, DEVICE_CLASS).payload(installed)
    assert caught.value.code == "trust.tampered"


@pytest.mark.parametrize("emptied", [True, False])
def test_a_file_that_is_empty_or_gone_is_a_storage_error(store: ModelStore, emptied: bool) -> None:  # noqa: FBT001
    installed = TWO.install(store)
    installed.payload_path.unlink()
    if emptied:
        installed.payload_path.touch()
    with pytest.raises(StorageError):
        Opener(KEY, DEVICE, DEVICE_CLASS).payload(installed)


def test_a_key_that_is_gone_is_not_tampering(store: ModelStore) -> None:
    class Gone:
        public_bytes = KEY.public_bytes

        def exchange(self, peer_public: bytes) -> bytes:
            raise KeyUnavailableError(f"token gone ({len(peer_public)} bytes asked)")

    with pytest.raises(KeyUnavailableError, match="token gone"):
        Opener(Gone(), DEVICE, DEVICE_CLASS).payload(TWO.install(store))
