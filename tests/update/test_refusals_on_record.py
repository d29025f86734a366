"""Attacks of the list, seen from the whole device: named, nothing of what serves or counts moves, and a row says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from securesystemslib.signer import SSlibKey

from agent.app.announcer import Announcer
from agent.schema.manifest import ReleaseRef
from agent.trust.ledger import Ledger
from agent.update.ports import Offer
from tests.parts.signed_repository import BLOCK, MadeRelease, SignedRepository, make_release
from tests.parts.update_device import RecordedReplier, UpdateDevice

Attack = Callable[[SignedRepository, Path], None]


def payload(change: Callable[[bytes], bytes]) -> Attack:
    """Serve other bytes for release 2's sealed weights than the signed ones."""

    def attack(repository: SignedRepository, _cache: Path) -> None:
        path = next(path for path in repository.files if "/1.2/" in path and "fp32" in path)
        repository.files[path] = change(repository.files[path])

    return attack


def flipped(data: bytes) -> bytes:
    place = 3 * BLOCK
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def twin_in_root(repository: SignedRepository, _cache: Path) -> None:
    public = repository.signers["timestamp"][0].public_key
    repository.root.add_key(SSlibKey("twin", "ed25519", "ed25519", public.keyval), "timestamp")
    repository.root.version += 1
    repository.publish_root()


def twin_in_delegation(repository: SignedRepository, _cache: Path) -> None:
    public = repository.signers["pi5"][0].public_key
    repository.targets.add_key(SSlibKey("twin", "ed25519", "ed25519", public.keyval), "pi5")
    repository.publish()


def old_repository_without_cache(repository: SignedRepository, cache: Path) -> None:
    """Bring back the first day's metadata to a device whose cache went with the power."""
    for path in [path for path in repository.files if path.startswith("metadata/")]:
        if not path.endswith("root.json"):
            del repository.files[path]
    repository.snapshot.version = repository.timestamp.version = 0
    for document in (repository.targets, *repository.delegated.values()):
        document.version = 0
    repository.publish()
    shutil.rmtree(cache)
    cache.mkdir()


ATTACKS: list[Any] = [
    pytest.param(twin_in_root, "trust.repeated_key", id="11 root"),
    pytest.param(twin_in_delegation, "trust.repeated_key", id="11 delegation"),
    pytest.param(old_repository_without_cache, "trust.rollback", id="12"),
    pytest.param(payload(lambda data: data[::-1]), "transfer.poisoned", id="16"),
    pytest.param(payload(lambda data: data[:-1]), "transfer.poisoned", id="18"),
    pytest.param(payload(flipped), "transfer.poisoned", id="19"),
]


def refused(device: UpdateDevice, folder: Path, offer: Callable[[], str], code: str) -> None:
    """Assert that what `offer` does ends with `code`, moves nothing, and is told in the audit record."""
    told, current = list(device.host.told), device.current
    assert offer() == code
    assert device.last.code == code
    assert device.current == current
    assert device.plaintext(current) == make_release(1).plaintext
    assert device.host.told == told
    assert device.floor.counter == 1
    ledger, page = Ledger(folder / "ledger.db"), SimpleNamespace(updates=SimpleNamespace(add=id))
    streams: Any = None  # only events and moves go there
    own: Any = SimpleNamespace(ledger=ledger)
    Announcer(streams, own, lambda: page).update(device.last)  # type: ignore[arg-type,return-value]
    outcome = "failed" if code.startswith("transfer.") else "refused"  # a bad road may be retried
    assert [row.text for row in ledger.rows()] == [f"{device.last.path} {outcome} {code}"]
    ledger.verify()
    ledger.close()


@pytest.mark.parametrize(("attack", "code"), ATTACKS)
def test_an_attack_moves_nothing_and_leaves_a_row(
    device: UpdateDevice, repository: SignedRepository, tmp_path: Path, attack: Attack, code: str
) -> None:
    attack(repository, tmp_path / "metadata")
    bait: MadeRelease = make_release(2)
    refused(device, tmp_path, lambda: device.deploy(bait).code, code)


def test_14_a_strange_path_moves_nothing_and_leaves_a_row(
    device: UpdateDevice, tmp_path: Path
) -> None:
    def offer() -> str:
        replier = RecordedReplier()
        ref = ReleaseRef(path="models/pi5/../../etc/passwd", sha256="a" * 64)
        device.updater.submit(Offer(ref, "command-1"), replier)
        device.updater.work()
        return replier.code

    refused(device, tmp_path, offer, "trust.path")
