"""Attacks on signed metadata, seen from the whole device: named, nothing of what serves or counts moves, a row says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey

from agent.trust.ledger import Ledger
from tests.parts.on_record import assert_refused
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import UpdateDevice


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


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(twin_in_root, "trust.repeated_key", id="11 root"),
        pytest.param(twin_in_delegation, "trust.repeated_key", id="11 delegation"),
        pytest.param(old_repository_without_cache, "trust.rollback", id="12"),
    ],
)
def test_an_attack_moves_nothing_and_leaves_a_row(
    device: UpdateDevice,
    repository: SignedRepository,
    ledger: Ledger,
    tmp_path: Path,
    attack: Callable[[SignedRepository, Path], None],
    code: str,
) -> None:
    attack(repository, tmp_path / "metadata")
    assert_refused(device, ledger, lambda: device.deploy(make_release(2)).code, code)
    assert device.plaintext(device.current) == make_release(1).plaintext
