"""`vigil release verify` looks at the bundles for OpenSSF's model-signing: they hold, none is missing, none is another's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from agent.release.listing import target_of
from agent.release.model_signing import BUNDLE_TYPE, LIMIT, add_bundles, drop_bundles
from agent.release.replacement import replace_key
from agent.release.repository import Repository
from agent.release.verify import Verification
from tests.release.signing import RELEASE, Site
from tests.release.verified import faults, of_repository


@pytest.fixture
def signed(site: Site) -> Site:
    """A published release that two people with keys on P-256 approved."""
    for copy in site.copies:
        site.carry(copy)
    site.publish()
    return site


def bundles(site: Site) -> list[Path]:
    """The two published bundles, the one of the first key first."""
    folder = site.repository.public / "signatures" / RELEASE
    return [folder / f"{key.public_key.keyid[:12]}.sigstore.json" for key in site.keys[:2]]


def place(bundle: Path) -> str:
    return f"signatures/{RELEASE}/{bundle.name}"


def counts(found: Verification) -> dict[str, int]:
    return {one.release: one.bundles for one in found.releases}


def made(site: Site, signer: CryptoSigner) -> bytes:
    """A bundle about the release by any key."""
    document = site.repository._shelf.published("gate")
    add_bundles(document, {}, [signer])
    (bundle,) = drop_bundles(document).values()
    return bundle


def test_bundles_that_hold_are_counted(signed: Site) -> None:
    found = of_repository(signed.repository)
    assert not found.findings
    assert counts(found) == {RELEASE: 2}


def test_keys_that_sign_no_bundle_owe_none(published: Repository) -> None:
    assert counts(of_repository(published)) == {RELEASE: 0}


def test_a_missing_bundle_is_named(signed: Site) -> None:
    gone, _ = bundles(signed)
    gone.unlink()
    found = of_repository(signed.repository)
    assert faults(found) == [(place(gone), "transfer.not_found")]
    assert counts(found) == {RELEASE: 1}


def test_all_of_a_repositorys_bundles_may_be_missing(signed: Site) -> None:
    shutil.rmtree(signed.repository.public / "signatures")
    expected = [(place(one), "transfer.not_found") for one in sorted(bundles(signed))]
    assert faults(of_repository(signed.repository)) == expected


def test_without_the_document_before_nobody_knows_who_owes_one(signed: Site) -> None:
    bundles(signed)[0].unlink()
    (signed.repository.public / "metadata/1.gate.json").unlink()
    found = of_repository(signed.repository)
    assert not found.findings
    assert counts(found) == {RELEASE: 1}


def test_who_approves_a_later_document_owes_nothing_for_the_earlier_release(
    signed: Site, workshop: Any
) -> None:
    repository, (_, second, edwards) = signed.repository, signed.people.signers["release"]
    repository.add_release(workshop.release("1.1", 2))
    repository.approve("gate", [second, edwards])
    repository.publish(*signed.people.online)
    found = of_repository(repository)
    assert not found.findings
    assert counts(found) == {RELEASE: 2, "gate/people/1.1": 1}
    repository.renew("gate")
    repository.approve("gate", [signed.keys[0], edwards])
    repository.publish(*signed.people.online)
    assert not of_repository(repository).findings


def test_a_document_in_the_place_of_another_says_nothing(site: Site) -> None:
    repository, (_, second, edwards) = site.repository, site.people.signers["release"]
    site.carry(site.copies[0])
    repository.approve("gate", [edwards])
    repository.publish(*site.people.online)
    repository.renew("gate")
    repository.approve("gate", [second, edwards])
    repository.publish(*site.people.online)
    metadata = repository.public / "metadata"
    shutil.copy(metadata / "3.gate.json", metadata / "1.gate.json")
    found = of_repository(repository)
    assert not found.findings
    assert counts(found) == {RELEASE: 1}


def test_another_class_has_no_say_in_what_a_release_is(signed: Site) -> None:
    repository, path = signed.repository, f"models/{RELEASE}/manifest.json"
    claimed = target_of(path, b"other bytes", {"release": RELEASE})
    repository.amend("yard", lambda document: document.targets.update({path: claimed}))
    repository.approve("yard", signed.people.signers["release"][1:])
    repository.publish(*signed.people.online)
    found = of_repository(repository)
    assert counts(found) == {RELEASE: 2}
    assert not [one for one in found.findings if one.place.startswith("signatures")]


def change(path: Path, alter: Callable[[Any], None]) -> None:
    tree = json.loads(path.read_bytes())
    alter(tree)
    path.write_text(json.dumps(tree))


def with_other_words(bundle: Any) -> None:
    payload = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = payload[:-8] + "AAAA" + payload[-4:]


def without_signatures(bundle: Any) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def without_envelope(bundle: Any) -> None:
    del bundle["dsseEnvelope"]


def of_another_version(bundle: Any) -> None:
    bundle["mediaType"] = BUNDLE_TYPE.replace("0.3", "0.2")


def with_another_hint(bundle: Any) -> None:
    bundle["verificationMaterial"]["publicKey"]["hint"] = "0" * 64


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (with_other_words, "trust.bad_signature"),
        (without_signatures, "trust.unsigned"),
        (without_envelope, "trust.malformed"),
        (of_another_version, "trust.different"),
        (with_another_hint, "trust.different"),
    ],
)
def test_a_changed_bundle_is_named(signed: Site, alter: Any, code: str) -> None:
    changed, _ = bundles(signed)
    change(changed, alter)
    found = of_repository(signed.repository)
    assert faults(found) == [(place(changed), code)]
    assert counts(found) == {RELEASE: 1}


def test_a_bundle_by_a_key_without_a_say_is_named(signed: Site) -> None:
    stranger = CryptoSigner.generate_ecdsa()
    own, _ = bundles(signed)
    foreign = own.with_name(f"{stranger.public_key.keyid[:12]}.sigstore.json")
    foreign.write_bytes(made(signed, stranger))
    assert faults(of_repository(signed.repository)) == [(place(foreign), "trust.unknown_key")]
    foreign.rename(own)
    assert faults(of_repository(signed.repository)) == [(place(own), "trust.unknown_key")]


def test_one_approvers_bundle_does_not_stand_for_anothers(signed: Site) -> None:
    one, other = bundles(signed)
    shutil.copy(one, other)
    assert faults(of_repository(signed.repository)) == [(place(other), "trust.different")]


def test_a_bundle_about_another_release_is_named(signed: Site, workshop: Any) -> None:
    repository, (first, second, _) = signed.repository, signed.people.signers["release"]
    repository.add_release(workshop.release("1.1", 2))
    repository.approve("gate", [first, second])
    repository.publish(*signed.people.online)
    old, _ = bundles(signed)
    new = repository.public / "signatures/gate/people/1.1" / old.name
    shutil.copy(old, new)
    expected = [(f"signatures/gate/people/1.1/{new.name}", "trust.different")]
    assert faults(of_repository(repository)) == expected


@pytest.mark.parametrize(
    "name", ["gate/people/9.9/000000000000.sigstore.json", "pi5/x/1.0/a.json", "readme.txt"]
)
def test_a_file_about_no_listed_release_is_named(signed: Site, name: str) -> None:
    path = signed.repository.public / "signatures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bundles(signed)[0].read_bytes())
    assert faults(of_repository(signed.repository)) == [(f"signatures/{name}", "trust.unlisted")]


def test_a_bundle_without_an_end_is_not_read_into_memory(signed: Site) -> None:
    long, _ = bundles(signed)
    with long.open("ab") as file:
        file.truncate(LIMIT + 1)
    assert faults(of_repository(signed.repository)) == [(place(long), "storage.too_long")]


def test_the_bundle_of_a_key_that_was_replaced_is_named(signed: Site) -> None:
    repository, signers = signed.repository, signed.people.signers["release"]
    lost = bundles(signed)[0]
    new = CryptoSigner.generate_ecdsa()
    replace_key(repository, "release", signers[0].public_key, new.public_key)
    signers[0] = new
    signed.people.sign_all(repository)
    repository.publish(*signed.people.online)
    (finding,) = of_repository(repository).findings
    assert (finding.place, finding.code) == (place(lost), "trust.unknown_key")
    assert "none any more" in finding.problem
    lost.unlink()
    assert not of_repository(repository).findings
