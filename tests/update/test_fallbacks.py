"""A fallback is a gift: fetched where it can be, and never a reason for an update to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import StorageError
from tests.parts.signed_repository import (
    MadeRelease,
    SignedRepository,
    make_release,
    with_fallback,
)
from tests.parts.update_device import UpdateDevice

CHOSEN, SMALL = "onnx-fp32-320", "onnx-fp32-160"


def started(folder: Path, repository: SignedRepository, fallbacks: int = 1) -> UpdateDevice:
    device = UpdateDevice(folder, repository, fallback_variants=fallbacks)
    device.start()
    return device


@pytest.fixture
def repository() -> SignedRepository:
    return SignedRepository(classes=("pi5",))


@pytest.fixture
def release(repository: SignedRepository) -> MadeRelease:
    made = repository.add(with_fallback(make_release(1)))
    repository.publish()
    return made


def here(device: UpdateDevice) -> list[str]:
    return [variant.id for variant in device.store.load(device.current).here]


def test_the_fallback_comes_with_the_release(
    tmp_path: Path, repository: SignedRepository, release: MadeRelease
) -> None:
    device = started(tmp_path, repository)
    assert device.deploy(release).code == "committed"
    assert here(device) == [CHOSEN, SMALL]


def test_none_comes_where_none_is_wanted(
    tmp_path: Path, repository: SignedRepository, release: MadeRelease
) -> None:
    device = started(tmp_path, repository, fallbacks=0)
    assert device.deploy(release).code == "committed"
    assert here(device) == [CHOSEN]


def test_a_fallback_that_does_not_come_is_told_and_forgotten(
    tmp_path: Path, repository: SignedRepository, release: MadeRelease
) -> None:
    device = started(tmp_path, repository)
    for path in [path for path in repository.files if SMALL in path]:
        repository.files[path] = b"\0" * len(repository.files[path])
    reply = device.deploy(release)
    assert reply.code == "committed"
    assert here(device) == [CHOSEN]
    assert any(f"without fallback {SMALL}" in step for step in reply.steps)
    assert not list((tmp_path / "models" / "parts").iterdir()), "no part takes up space"


def test_a_disk_with_no_room_for_the_fallback_still_takes_the_release(
    tmp_path: Path,
    repository: SignedRepository,
    release: MadeRelease,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = started(tmp_path, repository)
    small = release.manifest.variants[1].payload.sha256
    open_part = device.disk.open_part

    def refuse(path: Path) -> object:
        if small in path.name:
            raise StorageError("no space", code="storage.full")
        return open_part(path)

    monkeypatch.setattr(type(device.disk), "open_part", lambda _disk, path: refuse(path))
    assert device.deploy(release).code == "committed"
    assert here(device) == [CHOSEN]
