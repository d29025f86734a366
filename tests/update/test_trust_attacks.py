"""Attack list 1 to 15, 28 and 29: hostile metadata against the real client.

Each attack ends with its code, the serving release and the floor's counter unchanged, and a row in the audit record;
the device still takes the next honest release.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Delegations

from agent.errors import StorageError, TransferError, TrustError
from agent.schema.manifest import ReleaseRef
from agent.trust.ledger import Ledger
from tests.parts.metadata_attacks import (
    ATTACKS,
    Attack,
    huge_timestamp,
    mixed_snapshot,
    timestamp_is,
)
from tests.parts.on_record import assert_refused
from tests.parts.signed_repository import (
    SignedRepository,
    in_days,
    make_release,
)
from tests.parts.update_device import UpdateDevice


@pytest.mark.parametrize(("attack", "code"), [pytest.param(a, c, id=n) for n, a, c in ATTACKS])
def test_an_attack_is_named_and_changes_nothing(
    device: UpdateDevice, repository: SignedRepository, ledger: Ledger, attack: Attack, code: str
) -> None:
    bait = attack(repository) or make_release(2)
    assert_refused(device, ledger, lambda: device.deploy(bait).code, code)
    assert device.current.version == "1.1"
    assert device.plaintext(device.current) == make_release(1).plaintext
    assert device.floor.counter == 1


def test_1_to_9_leave_a_device_that_takes_the_next_honest_release(
    device: UpdateDevice, repository: SignedRepository
) -> None:
    for attack in (timestamp_is(b"x"), huge_timestamp, mixed_snapshot):
        attack(repository)
        assert device.deploy(make_release(2)).code.startswith("trust.")
    repository.publish()
    assert device.deploy(make_release(2)).code == "committed"


def test_11_one_public_key_under_two_ids_is_refused_in_a_root(
    device: UpdateDevice, repository: SignedRepository
) -> None:
    signer = repository.signers["timestamp"][0]
    twin = SSlibKey("twin", "ed25519", "ed25519", signer.public_key.keyval)
    repository.root.add_key(twin, "timestamp")
    repository.root.version += 1
    repository.publish_root()
    assert device.deploy(make_release(2)).code == "trust.repeated_key"


def test_11_one_public_key_under_two_ids_is_refused_in_a_delegation(
    device: UpdateDevice, repository: SignedRepository
) -> None:
    signer = repository.signers["pi5"][0]
    delegations = repository.targets.delegations
    assert isinstance(delegations, Delegations)
    twin = SSlibKey("twin", "ed25519", "ed25519", signer.public_key.keyval)
    repository.targets.add_key(twin, "pi5")
    repository.publish()
    assert device.deploy(make_release(2)).code == "trust.repeated_key"


def test_12_an_old_repository_is_refused_even_after_the_cache_is_lost(
    device: UpdateDevice, repository: SignedRepository, tmp_path: Path
) -> None:
    old = dict(repository.files)
    repository.publish()
    repository.publish()
    device.trust.check(repository)
    shutil.rmtree(tmp_path / "metadata")
    (tmp_path / "metadata").mkdir()
    repository.files = old
    with pytest.raises(TrustError) as caught:
        device.trust.check(repository)
    assert caught.value.code == "trust.rollback"


def test_13_fast_forwarded_versions_are_recovered_from_by_new_keys(
    device: UpdateDevice, repository: SignedRepository
) -> None:
    repository.timestamp.version = 2**31
    repository.publish_timestamp()
    device.trust.check(repository)
    for role in ("timestamp", "snapshot"):
        repository.rotate(role)
    repository.timestamp.version = repository.snapshot.version = 1
    repository.publish()
    assert device.deploy(make_release(2)).code == "committed"


def test_roots_rotate_step_by_step(device: UpdateDevice, repository: SignedRepository) -> None:
    for role in ("root", "targets", "root"):
        repository.rotate(role)
    repository.publish()
    assert device.deploy(make_release(2)).code == "committed"


@pytest.mark.parametrize(
    "path",
    [
        "models/pi5/../../etc/passwd",
        "/models/pi5/shapes/1.2/manifest.json",
        "models/pi5/shapes\x00/1.2/manifest.json",
        "models/pi5/" + "a" * 4096,
        "models/p\u0456" + "5/shapes/1.2/manifest.json",
        "models/pi5/shapes/1.2/manifest.json\n",
        "..",
        "",
    ],
)
def test_14_a_strange_path_is_refused_before_anything_is_asked_for(
    device: UpdateDevice, repository: SignedRepository, path: str
) -> None:
    trusted = device.trust.check(repository)
    repository.asked.clear()
    with pytest.raises(TrustError) as caught:
        trusted.release(ReleaseRef(path=path, sha256="a" * 64))
    assert caught.value.code == "trust.path"
    assert repository.asked == []


def test_a_clock_that_went_back_does_not_bring_expired_metadata_to_life(
    tmp_path: Path, repository: SignedRepository
) -> None:
    device = UpdateDevice(tmp_path, repository)
    device.floor.raise_to(time_s=int(in_days(2).timestamp()))
    with pytest.raises(TrustError) as caught:
        device.trust.check(repository)
    assert caught.value.code == "trust.expired"


def test_a_torn_cache_is_fetched_again(
    device: UpdateDevice, repository: SignedRepository, tmp_path: Path
) -> None:
    repository.rotate("timestamp")
    repository.publish()
    device.trust.check(repository)
    for path in (tmp_path / "metadata").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(path.read_bytes()[:50])
    assert device.deploy(make_release(2)).code == "committed"


def test_a_broken_road_is_no_attack(device: UpdateDevice, repository: SignedRepository) -> None:
    repository.files.pop("metadata/timestamp.json")
    with pytest.raises(TransferError):
        device.trust.check(repository)

    def broken(_path: str, _start: int) -> object:
        raise TransferError("offline", code="transfer.offline")

    repository.read = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(TransferError) as caught:
        device.trust.check(repository)
    assert caught.value.code == "transfer.offline"


def test_a_cache_that_cannot_be_written_is_the_disks_fault(
    device: UpdateDevice, repository: SignedRepository, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "metadata")
    (tmp_path / "metadata").write_text("not a folder")
    with pytest.raises(StorageError):
        device.trust.check(repository)


def test_the_command_policy_is_read_from_its_own_role(
    device: UpdateDevice, repository: SignedRepository
) -> None:
    data = b'{"schema":1,"version":7,"users":[],"commands":{}}'
    repository.enter("policy", "policy/commands.json", data)
    repository.publish()
    found, policy = device.stager.policy()
    assert (found, policy.version) == (data, 7)
    del repository.delegated["policy"].targets["policy/commands.json"]
    repository.enter("pi5", "policy/commands.json", data)
    repository.publish()
    with pytest.raises(TrustError) as caught:
        device.stager.policy()
    assert caught.value.code == "trust.unlisted"
