"""Disasters rehearsed: a key is lost, a key is stolen; what devices then believe."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import CryptoSigner

from agent.errors import ConfigError, TrustError
from agent.release.charter import RELEASE, delegate_agent, new_delegated
from agent.release.replacement import ROLES, replace_key
from agent.release.repository import Repository
from agent.release.signers import generate, public_pem
from agent.schema.agent_release import AGENT_ROLE
from tests.release.drafts import vigil
from tests.release.tuf_client import MANIFEST, client, find


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def approve_with(repository: Repository, by_role: dict[str, list[CryptoSigner]]) -> None:
    for standing in repository.standings():
        role = standing.role if standing.role in by_role else RELEASE
        repository.approve(standing.role, by_role[role])


@pytest.mark.parametrize("role", ROLES)
def test_who_is_left_replaces_a_lost_key_and_devices_follow(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path, role: str
) -> None:
    client(repository, tmp_path)  # a device that knows the repository of before
    lost, *left = people.signers[role]
    fresh = new_key()
    staged = replace_key(repository, role, lost.public_key, fresh.public_key)
    assert sorted(staged) == sorted(one.role for one in repository.standings())
    signers = {name: keys[1:] for name, keys in people.signers.items()} | {role: [*left, fresh]}
    if role == "root":
        signers["root"] = left  # enough of those before and of those after
    approve_with(repository, signers)
    online = {name: people.signers[name] for name in ("snapshot", "timestamp")}
    if role in online:
        online[role] = [fresh]
    repository.publish(online["snapshot"], online["timestamp"])
    repository.add_release(workshop.release())
    repository.approve("gate", [fresh, left[0]] if role == RELEASE else people.signers[RELEASE][:2])
    repository.publish(online["snapshot"], online["timestamp"])
    assert find(repository, tmp_path, MANIFEST).path == MANIFEST
    (tmp_path / "new").mkdir()
    assert find(repository, tmp_path / "new", MANIFEST).path == MANIFEST


def test_a_stolen_key_that_was_replaced_approves_nothing_any_more(
    repository: Repository, people: Any, workshop: Any
) -> None:
    stolen, *left = people.signers[RELEASE]
    replace_key(repository, RELEASE, stolen.public_key, new_key().public_key)
    approve_with(repository, people.signers | {RELEASE: left})
    repository.publish(*people.online)
    repository.add_release(workshop.release())
    with pytest.raises(TrustError, match="no say"):
        repository.approve("gate", [stolen])


def test_a_thief_with_one_key_of_two_can_neither_publish_nor_replace_the_others(
    repository: Repository, people: Any, tmp_path: Path
) -> None:
    stolen, other, _ = people.signers["root"]
    thiefs = new_key()
    replace_key(repository, "root", other.public_key, thiefs.public_key)
    # Two keys of the new root, but only one of those that devices know.
    repository.approve("root", [stolen, thiefs])
    with pytest.raises(TrustError, match="expected 2 approvals, found 1") as refusal:
        repository.publish(*people.online)
    assert refusal.value.code == "trust.threshold"
    assert client(repository, tmp_path).get_targetinfo(MANIFEST) is None


def test_a_key_of_somebody_else_is_not_replaced_and_nothing_is_staged(
    repository: Repository, people: Any
) -> None:
    known, stranger = people.signers["root"][0].public_key, new_key().public_key
    with pytest.raises(TrustError, match="has no say"):
        replace_key(repository, "root", stranger, new_key().public_key)
    with pytest.raises(TrustError, match="already"):
        replace_key(repository, RELEASE, *(one.public_key for one in people.signers[RELEASE][:2]))
    with pytest.raises(ConfigError, match="expected one of"):
        replace_key(repository, "gate", known, stranger)
    assert repository.standings() == []


def test_the_administrators_key_gives_way_for_releases_of_the_agent_too(
    repository: Repository, people: Any
) -> None:
    repository.amend("targets", delegate_agent)
    now = datetime.now(timezone.utc).replace(microsecond=0)
    repository._shelf.stage(AGENT_ROLE, new_delegated(AGENT_ROLE, now))
    lost, fresh = people.signers["policy"][0].public_key, new_key().public_key
    staged = replace_key(repository, "policy", lost, fresh)
    assert set(staged) == {"targets", "policy", AGENT_ROLE}


def test_the_command_stages_what_is_to_be_approved(
    repository: Repository, people: Any, tmp_path: Path
) -> None:
    generate(tmp_path / "keys", "new")
    old = tmp_path / "old.pub"
    raw = bytes.fromhex(people.signers["release"][0].public_key.keyval["public"])
    old.write_text(public_pem(Ed25519PublicKey.from_public_bytes(raw)))
    folder = repository.public.parent
    told = vigil(
        "release",
        "replace-key",
        folder,
        "release",
        "--old",
        old,
        "--new",
        tmp_path / "keys/new.pub",
    )
    for role in ("targets", "gate", "yard"):
        assert role in told
