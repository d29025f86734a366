"""A repository as a real python-tuf client sees it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import ExpiredMetadataError

from agent.errors import ConfigError, PackageError, TrustError
from agent.release.charter import Charter, RoleKeys
from agent.release.repository import POLICY_PATH, Repository
from agent.schema.blocks import BLOCK_BYTES
from agent.schema.messages import Policy, PolicyRule, Role
from tests.release.tuf_client import MANIFEST, client, find


def policy(version: int) -> Policy:
    return Policy(
        schema=1, version=version, users=[], commands={"deploy": PolicyRule(role=Role.DEPLOYER)}
    )


def test_a_published_release_is_found_and_downloaded_by_a_tuf_client(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    folder = workshop.release()
    ref = repository.add_release(folder)
    repository.approve("gate", people.signers["release"][1:])
    repository.publish(*people.online)
    updater = client(repository, tmp_path)
    target = updater.get_targetinfo(MANIFEST)
    assert target is not None
    assert (ref.path, ref.sha256) == (MANIFEST, target.hashes["sha256"])
    assert (
        Path(updater.download_target(target)).read_bytes()
        == (folder / "manifest.json").read_bytes()
    )
    assert repository.releases("gate") == [ref]


def test_targets_carry_block_digests_and_the_release_they_belong_to(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release(counter=7))
    people.sign_all(repository)
    repository.publish(*people.online)
    target = find(repository, tmp_path, "models/gate/people/1.0/onnx-fp32-640.sealed")
    custom = target.custom
    assert custom["release"] == "gate/people/1.0"
    assert (custom["class"], custom["release_counter"]) == ("gate", 7)
    assert custom["block_size"] == BLOCK_BYTES
    assert len(custom["block_sha256"]) == -(-target.length // BLOCK_BYTES) > 1


def test_a_class_cannot_list_targets_of_another_class(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release())
    staged = repository.staged / "gate.json"
    document = json.loads(staged.read_bytes())
    listed = document["signed"]["targets"]
    listed["models/yard/people/1.0/manifest.json"] = listed.pop(MANIFEST)
    staged.write_bytes(json.dumps(document).encode())
    people.sign_all(repository)
    repository.publish(*people.online)
    updater = client(repository, tmp_path)
    assert updater.get_targetinfo("models/yard/people/1.0/manifest.json") is None


def test_one_public_key_under_two_ids_is_refused(people: Any, tmp_path: Path) -> None:
    first, second = (signer.public_key for signer in people.signers["root"][:2])
    twin = SSlibKey("0" * 64, first.keytype, first.scheme, first.keyval)
    charter = people.charter("gate")
    doubled = Charter(
        classes=charter.classes,
        root=RoleKeys((first, twin, second), 2),
        targets=charter.targets,
        release=charter.release,
        policy=charter.policy,
        snapshot=charter.snapshot,
        timestamp=charter.timestamp,
    )
    with pytest.raises(TrustError) as refusal:
        Repository.create(tmp_path / "doubled", doubled)
    assert refusal.value.code == "trust.repeated_key"


@pytest.mark.parametrize("classes", [(), ("gate", "gate"), ("policy",), ("../up",), ("a/b",)])
def test_device_classes_that_cannot_be_are_refused(people: Any, classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        people.charter(*classes)


@pytest.mark.parametrize("threshold", [0, 4])
def test_thresholds_that_cannot_be_are_refused(people: Any, threshold: int) -> None:
    keys = tuple(signer.public_key for signer in people.signers["root"])
    with pytest.raises(ConfigError):
        RoleKeys(keys, threshold)


def test_counters_and_versions_must_rise(
    repository: Repository, people: Any, workshop: Any
) -> None:
    repository.add_release(workshop.release("1.0", counter=3))
    people.sign_all(repository)
    repository.publish(*people.online)
    with pytest.raises(PackageError) as older:
        repository.add_release(workshop.release("1.1", counter=3))
    assert older.value.code == "package.counter"
    with pytest.raises(PackageError) as again:
        repository.add_release(workshop.folder / "release-gate-1.0")
    assert again.value.code == "package.published"
    repository.add_release(workshop.release("1.2", counter=4))


def test_a_damaged_release_folder_is_not_staged(repository: Repository, workshop: Any) -> None:
    folder = workshop.release()
    sealed = folder / "golden.sealed"
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"?")
    with pytest.raises(PackageError) as refusal:
        repository.add_release(folder)
    assert refusal.value.code == "package.damaged"
    assert repository.standings() == []


def test_the_policy_is_a_target_whose_version_rises(
    repository: Repository, people: Any, tmp_path: Path
) -> None:
    repository.set_policy(policy(1))
    people.sign_all(repository)
    repository.publish(*people.online)
    assert find(repository, tmp_path, POLICY_PATH).custom["policy_ver"] == 1
    with pytest.raises(PackageError):
        repository.set_policy(policy(1))
    repository.set_policy(policy(2))


def test_a_policy_that_devices_would_refuse_is_not_staged(repository: Repository) -> None:
    rule = PolicyRule(role=Role.DEPLOYER, approvals=0)
    with pytest.raises(TrustError):
        repository.set_policy(Policy(schema=1, version=1, users=[], commands={"deploy": rule}))
    assert repository.standings() == []


def test_refresh_renews_what_expires_with_the_online_keys_alone(
    people: Any, tmp_path: Path
) -> None:
    times = [datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=6)]
    charter = people.charter("gate")
    repository = Repository.create(tmp_path / "repository", charter, now=lambda: times[-1])
    people.sign_all(repository)
    repository.publish(*people.online)
    with pytest.raises(ExpiredMetadataError):
        client(repository, tmp_path)
    before = repository.timestamp_version
    times.append(times[-1] + timedelta(days=6))
    repository.refresh(*people.online)
    assert repository.timestamp_version == before + 1
    assert client(repository, tmp_path).get_targetinfo(MANIFEST) is None
    assert sorted(
        path.name for path in (repository.public / "metadata").glob("*.snapshot.json")
    ) == [
        "1.snapshot.json",
        "2.snapshot.json",
    ]


def test_a_renewed_role_needs_its_approvals_again(repository: Repository, people: Any) -> None:
    repository.renew("yard")
    with pytest.raises(TrustError):
        repository.publish(*people.online)
    people.sign_all(repository)
    repository.publish(*people.online)


def test_a_second_repository_in_the_same_folder_is_refused(
    repository: Repository, people: Any
) -> None:
    with pytest.raises(PackageError):
        Repository.create(repository.public.parent, people.charter("gate"))


def test_an_unknown_class_is_named_in_the_refusal(repository: Repository, workshop: Any) -> None:
    with pytest.raises(TrustError, match="no roof is published"):
        repository.add_release(workshop.release(device_class="roof"))
