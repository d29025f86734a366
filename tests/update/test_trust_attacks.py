"""Attack list 1 to 15, 28 and 29: hostile metadata against the real client.

Each attack ends with its code, the serving release and the floor's counter unchanged, and the device still
takes the next honest release.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Delegations

from agent.errors import StorageError, TransferError, TrustError
from agent.schema.manifest import ReleaseRef
from tests.parts.signed_repository import (
    MadeRelease,
    SignedRepository,
    in_days,
    make_release,
)
from tests.parts.update_device import UpdateDevice

Attack = Callable[[SignedRepository], "MadeRelease | None"]


def root_signed_only_by_new_keys(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.publish_root(signers=[CryptoSigner.generate_ed25519() for _ in range(3)])


def root_signed_by_one_of_two(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.publish_root(signers=repository.signers["root"][:1])


def root_of_another_version(repository: SignedRepository) -> None:
    repository.root.version = 3
    repository.publish_root()
    repository.files["metadata/2.root.json"] = repository.files.pop("metadata/3.root.json")


def root_expired(repository: SignedRepository) -> None:
    repository.root.version += 1
    repository.root.expires = in_days(-1)
    repository.publish_root()


def timestamp_expired(repository: SignedRepository) -> None:
    repository.timestamp.expires = in_days(-0.01)
    repository.publish_timestamp()


def timestamp_rolled_back(repository: SignedRepository) -> None:
    repository.timestamp.version = 1
    repository.publish_timestamp()


def mixed_snapshot(repository: SignedRepository) -> None:
    version = repository.snapshot.version
    repository.publish_snapshot()
    repository.publish_timestamp()
    newer = f"metadata/{version + 1}.snapshot.json"
    repository.files[newer] = repository.files[f"metadata/{version}.snapshot.json"]


def signed_by_strangers(role: str) -> Attack:
    def attack(repository: SignedRepository) -> None:
        repository.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(3)]
        repository.publish()

    return attack


def signed_by_too_few(role: str) -> Attack:
    def attack(repository: SignedRepository) -> None:
        repository.signers[role] = repository.signers[role][:1]
        repository.publish()

    return attack


def huge_timestamp(repository: SignedRepository) -> None:
    repository.files["metadata/timestamp.json"] = bytes(1_000_000)


def class_b_lists_a_path_of_class_a(repository: SignedRepository) -> MadeRelease:
    release = make_release(9)
    repository.add(release, role="jetson")
    repository.publish()
    return release


def release_of_another_class(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(9, device_class="jetson"))
    repository.publish()
    return release


def other_class_in_the_manifest(repository: SignedRepository) -> MadeRelease:
    foreign = make_release(9, device_class="jetson")
    data = foreign.files["manifest.json"]
    repository.list("pi5", "models/pi5/shapes/1.9/manifest.json", data)
    repository.publish()
    return _at("models/pi5/shapes/1.9", foreign)


def other_name_in_the_manifest(repository: SignedRepository) -> MadeRelease:
    other = make_release(9)
    repository.list("pi5", "models/pi5/shapes/9.9/manifest.json", other.files["manifest.json"])
    repository.publish()
    return _at("models/pi5/shapes/9.9", other)


def older_counter(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(0))
    repository.publish()
    return release


def newer_agent_needed(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(9, min_agent="0.2"))
    repository.publish()
    return release


def unlisted(_repository: SignedRepository) -> MadeRelease:
    return make_release(9)


def other_digest(repository: SignedRepository) -> MadeRelease:
    repository.add(make_release(9))
    repository.publish()
    return make_release(9, labels=["other"])


def payload_not_listed(repository: SignedRepository) -> MadeRelease:
    release = repository.add(make_release(9))
    del repository.delegated["pi5"].targets[f"{release.folder}/onnx-fp32-320.sealed"]
    repository.publish()
    return release


def manifest_is(data: bytes) -> Attack:
    def attack(repository: SignedRepository) -> MadeRelease:
        release = make_release(9)
        files = release.files | {"manifest.json": data}
        return_value = MadeRelease(release.manifest, files, release.dek, release.plaintext)
        repository.add(return_value)
        repository.publish()
        return return_value

    return attack


def without(field: str) -> bytes:
    fields = json.loads(make_release(9).files["manifest.json"])
    del fields[field]
    return json.dumps(fields).encode()


def timestamp_is(data: bytes) -> Attack:
    def attack(repository: SignedRepository) -> None:
        repository.files["metadata/timestamp.json"] = data

    return attack


def _at(folder: str, release: MadeRelease) -> MadeRelease:
    """The same release asked for under another path."""

    class Moved(MadeRelease):
        @property
        def ref(self) -> ReleaseRef:
            return ReleaseRef(path=f"{folder}/manifest.json", sha256=release.ref.sha256)

    return Moved(release.manifest, release.files, release.dek, release.plaintext)


ATTACKS: list[tuple[str, Attack, str]] = [
    ("1 root by new keys only", root_signed_only_by_new_keys, "trust.unsigned"),
    ("2 root by one of two", root_signed_by_one_of_two, "trust.unsigned"),
    ("3 root 3 served as 2", root_of_another_version, "trust.rollback"),
    ("4 final root expired", root_expired, "trust.expired"),
    ("5 freeze", timestamp_expired, "trust.expired"),
    ("6 timestamp rollback", timestamp_rolled_back, "trust.rollback"),
    ("7 mix and match", mixed_snapshot, "trust.mix_and_match"),
    ("8 timestamp by a stranger", signed_by_strangers("timestamp"), "trust.unsigned"),
    ("8 snapshot by a stranger", signed_by_strangers("snapshot"), "trust.unsigned"),
    ("8 targets by strangers", signed_by_strangers("targets"), "trust.unsigned"),
    ("8 class by strangers", signed_by_strangers("pi5"), "trust.unsigned"),
    ("8 targets by one of two", signed_by_too_few("targets"), "trust.unsigned"),
    ("8 class by one of two", signed_by_too_few("pi5"), "trust.unsigned"),
    ("9 timestamp of 1 MB", huge_timestamp, "trust.too_long"),
    ("10 delegate oversteps", class_b_lists_a_path_of_class_a, "trust.unlisted"),
    ("10 path of another class", release_of_another_class, "trust.wrong_class"),
    ("10 manifest of another class", other_class_in_the_manifest, "trust.wrong_class"),
    ("10 manifest of another release", other_name_in_the_manifest, "trust.wrong_release"),
    ("10 not listed", unlisted, "trust.unlisted"),
    ("10 another digest", other_digest, "trust.other_digest"),
    ("10 payload not listed", payload_not_listed, "trust.unlisted"),
    ("15 manifest of garbage", manifest_is(b"\xff\xfe"), "trust.malformed"),
    ("15 manifest misses a field", manifest_is(without("labels")), "trust.malformed"),
    ("15 manifest repeats a key", manifest_is(b'{"schema":1,"schema":1}'), "trust.malformed"),
    ("15 deep manifest", manifest_is(b"[" * 900_000), "trust.malformed"),
    ("15 timestamp of garbage", timestamp_is(b"<html>"), "trust.metadata"),
    ("15 deep timestamp", timestamp_is(b"[" * 16_000), "trust.metadata"),
    ("15 empty timestamp", timestamp_is(b""), "trust.metadata"),
    ("28 older counter", older_counter, "trust.rollback"),
    ("29 newer agent needed", newer_agent_needed, "package.min_agent"),
]


@pytest.fixture
def repository() -> SignedRepository:
    repository = SignedRepository()
    for counter in (1, 2):
        repository.add(make_release(counter))
    repository.publish()
    return repository


@pytest.fixture
def device(tmp_path: Path, repository: SignedRepository) -> UpdateDevice:
    device = UpdateDevice(tmp_path, repository)
    device.start()
    assert device.deploy(make_release(1)).code == "committed"
    return device


@pytest.mark.parametrize(("attack", "code"), [pytest.param(a, c, id=n) for n, a, c in ATTACKS])
def test_an_attack_is_named_and_changes_nothing(
    device: UpdateDevice, repository: SignedRepository, attack: Attack, code: str
) -> None:
    told = list(device.host.told)
    bait = attack(repository) or make_release(2)
    assert device.deploy(bait).code == code
    assert device.updater.record.current.version == "1.1"
    assert device.plaintext(device.updater.record.current) == make_release(1).plaintext
    assert device.host.told == told
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
    repository.list("policy", "policy/commands.json", data)
    repository.publish()
    found, policy = device.stager.policy()
    assert (found, policy.version) == (data, 7)
    del repository.delegated["policy"].targets["policy/commands.json"]
    repository.list("pi5", "policy/commands.json", data)
    repository.publish()
    with pytest.raises(TrustError) as caught:
        device.stager.policy()
    assert caught.value.code == "trust.unlisted"
