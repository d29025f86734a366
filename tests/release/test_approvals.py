"""Who must approve what before anything is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import TrustError
from agent.release.repository import Repository
from tests.release.tuf_client import MANIFEST, client, find


def test_one_approval_of_two_publishes_nothing(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release())
    repository.approve("gate", people.signers["release"][:1])
    with pytest.raises(TrustError, match="expected 2 approvals, found 1") as refusal:
        repository.publish(*people.online)
    assert refusal.value.code == "trust.threshold"
    assert client(repository, tmp_path).get_targetinfo(MANIFEST) is None
    assert not (repository.public / "targets").exists()


def test_the_same_person_twice_is_one_approval(
    repository: Repository, people: Any, workshop: Any
) -> None:
    repository.add_release(workshop.release())
    alice = people.signers["release"][0]
    assert repository.approve("gate", [alice, alice]).missing == 1


def test_keys_of_another_role_cannot_approve(
    repository: Repository, people: Any, workshop: Any
) -> None:
    repository.add_release(workshop.release())
    with pytest.raises(TrustError, match="no say"):
        repository.approve("gate", people.signers["policy"][:2])


def test_wrong_online_keys_publish_nothing(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release())
    people.sign_all(repository)
    with pytest.raises(TrustError, match="no say"):
        repository.publish(people.signers["timestamp"], people.signers["timestamp"])
    assert client(repository, tmp_path).get_targetinfo(MANIFEST) is None
    repository.publish(*people.online)
    assert client(repository, tmp_path).get_targetinfo(MANIFEST) is not None


def test_approvals_made_on_other_machines_are_collected_from_carried_files(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release())
    staged = repository.staged / "gate.json"
    original = staged.read_bytes()
    copies = []
    for signer in people.signers["release"][:2]:
        staged.write_bytes(original)
        repository.approve("gate", [signer])
        copies.append(staged.read_bytes())
    staged.write_bytes(original)
    assert repository.collect("gate", copies[0]).missing == 1
    assert repository.collect("gate", copies[1]).missing == 0
    repository.publish(*people.online)
    assert find(repository, tmp_path, MANIFEST).path == MANIFEST


def test_an_approved_copy_of_another_content_is_refused(
    repository: Repository, people: Any, workshop: Any
) -> None:
    repository.add_release(workshop.release())
    repository.approve("gate", people.signers["release"][:2])
    copy = json.loads((repository.staged / "gate.json").read_bytes())
    copy["signed"]["version"] += 1
    with pytest.raises(TrustError) as refusal:
        repository.collect("gate", json.dumps(copy).encode())
    assert refusal.value.code == "trust.different"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"signed": 1}', b"[" * 100_000])
def test_carried_files_that_are_no_metadata_are_refused(
    repository: Repository, workshop: Any, data: bytes
) -> None:
    repository.add_release(workshop.release())
    with pytest.raises(TrustError):
        repository.collect("gate", data)
