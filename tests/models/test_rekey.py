"""A device key is replaced: installed releases go on, also when the power goes in the middle."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from agent.errors import KeyUnavailableError, StorageError, TrustError
from agent.host.disk import RealDisk
from agent.host.memfd import read_memfd
from agent.models.opening import Opener
from agent.models.rekey import adopt_next_key
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.config import DeviceConfig
from agent.schema.keystore import FileKeyConfig
from agent.trust.rotation import spare_key
from agent.trust.stores.file import FileStore
from tests.parts.releases import DEVICE, DEVICE_CLASS, delivery

OWNER = DeviceConfig(id=DEVICE, device_class=DEVICE_CLASS)


class PowerCutError(Exception):
    """The device is without power from here on."""


class FailingDisk(RealDisk):
    """A disk that works so many times."""

    def __init__(self, operations: int, fault: Exception) -> None:
        self.left, self.fault = operations, fault

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Replace a file."""
        self._count()
        super().write_atomic(path, data, mode)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file."""
        self._count()
        super().rename(source, target)

    def _count(self) -> None:
        if not self.left:
            raise self.fault
        self.left -= 1


class Lab:
    """A device with two releases and a key that is to be replaced."""

    def __init__(self, folder: Path) -> None:
        self.config = FileKeyConfig(path=str(folder / "device.key"))
        self.models = ModelStore(folder / "models")
        key = self.keys().create()
        self.releases = [
            delivery(key, b"weights one", "1.1").install(self.models),
            delivery(key, b"weights two", "1.2").install(self.models),
        ]

    def keys(self, disk: RealDisk | None = None) -> FileStore:
        return FileStore(self.config, disk or RealDisk())

    def contents(self) -> list[bytes]:
        """What a freshly started agent reads of its releases."""
        keys = self.keys()
        opener = Opener(keys.open(), DEVICE, DEVICE_CLASS, partial(spare_key, keys))
        return [content(opener.payload(release)) for release in self.releases]


def content(fd: int) -> bytes:
    try:
        with read_memfd(fd) as view:
            return bytes(view)
    finally:
        os.close(fd)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def open_with(opener: Opener, release: InstalledRelease) -> bytes:
    return content(opener.payload(release))


def test_installed_releases_open_with_the_new_key_only(lab: Lab) -> None:
    old = lab.keys().open()
    new = lab.keys().successor().create()
    running = Opener(old, DEVICE, DEVICE_CLASS, partial(spare_key, lab.keys()))
    adopt_next_key(lab.keys(), lab.models, OWNER)
    assert lab.keys().open().public_bytes == new.public_bytes
    assert lab.contents() == [b"weights one", b"weights two"]
    assert open_with(running, lab.releases[0]) == b"weights one"  # an agent that was not restarted
    with pytest.raises(TrustError):
        open_with(Opener(old, DEVICE, DEVICE_CLASS), lab.releases[0])


def test_without_a_next_key_nothing_happens(lab: Lab) -> None:
    before = [release.grant_path.read_bytes() for release in lab.releases]
    adopt_next_key(lab.keys(), lab.models, OWNER)
    assert [release.grant_path.read_bytes() for release in lab.releases] == before


@pytest.mark.parametrize("operations", range(4))
def test_a_power_cut_anywhere_leaves_every_release_readable(lab: Lab, operations: int) -> None:
    lab.keys().successor().create()
    disk = FailingDisk(operations, PowerCutError())
    try:
        adopt_next_key(lab.keys(disk), lab.models, OWNER, disk)
    except PowerCutError:
        assert operations < 3
    assert lab.contents() == [b"weights one", b"weights two"]
    adopt_next_key(lab.keys(), lab.models, OWNER)
    assert lab.contents() == [b"weights one", b"weights two"]
    assert not lab.keys().successor().exists()


def test_a_full_disk_keeps_both_keys(lab: Lab) -> None:
    lab.keys().successor().create()
    full = StorageError("disk full", code="storage.full")
    with pytest.raises(StorageError):
        adopt_next_key(lab.keys(), lab.models, OWNER, FailingDisk(1, full))
    assert lab.keys().successor().exists()
    assert lab.contents() == [b"weights one", b"weights two"]


def test_an_old_key_that_is_gone_is_not_replaced(lab: Lab) -> None:
    lab.keys().successor().create()
    Path(lab.config.path).rename(f"{lab.config.path}.aside")
    with pytest.raises(KeyUnavailableError):
        adopt_next_key(lab.keys(), lab.models, OWNER)
    assert lab.keys().successor().exists()


def test_a_damaged_release_does_not_stop_the_others(lab: Lab) -> None:
    lab.keys().successor().create()
    lab.releases[0].payload_path.write_bytes(b"?")
    adopt_next_key(lab.keys(), lab.models, OWNER)
    opener = Opener(lab.keys().open(), DEVICE, DEVICE_CLASS)
    assert open_with(opener, lab.releases[1]) == b"weights two"
