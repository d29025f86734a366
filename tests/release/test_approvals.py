"""Who must approve what before anything is published."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from agent.errors import TrustError
from agent.release.replacement import replace_key
from agent.release.repository import Repository
from agent.release.signers import generate
from tests.release.drafts import vigil
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
    ada = people.signers["release"][0]
    repository.approve("gate", [ada, ada])
    assert [one.missing for one in repository.standings() if one.role == "gate"] == [1]


def test_keys_of_another_role_cannot_approve(
    repository: Repository, people: Any, workshop: Any
) -> None:
    repository.add_release(workshop.release())
    with pytest.raises(TrustError, match="no say") as refusal:
        repository.approve("gate", people.signers["policy"][:2])
    keys = {signer.public_key.keyid[:12] for signer in people.signers["release"]}
    assert keys <= set(re.findall(r"\w{12}", refusal.value.hint))


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
    for copy, missing in zip(copies, (1, 0), strict=True):
        repository.collect("gate", copy)
        assert [one.missing for one in repository.standings() if one.role == "gate"] == [missing]
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


def test_a_role_that_is_unknown_or_not_staged_is_told_with_those_that_are(
    repository: Repository, workshop: Any, tmp_path: Path
) -> None:
    folder = repository.public.parent
    assert "no release is published" in vigil("release", "inspect", folder)
    vigil("release", "keygen", "release", "ada", "--keys", tmp_path / "keys")
    vigil("release", "stage", folder, "--release", workshop.release())
    approve = ("release", "approve", folder, "--key", tmp_path / "keys/release/ada.key")
    with pytest.raises(
        TrustError, match=r"gaet: expected a role .* root, targets, gate, policy, yard"
    ) as no:
        vigil(*approve, "gaet")
    assert (no.value.code, no.value.hint) == ("trust.unknown_role", "staged now: gate")
    with pytest.raises(
        TrustError, match="yard: nothing is staged for it; staged now: gate"
    ) as idle:
        vigil(*approve, "yard")
    assert idle.value.code == "trust.nothing"
    for role, hint in (("gaet", "staged now: gate"), ("snapshot", "vigil release refresh")):
        with pytest.raises(TrustError, match="expected a role that people sign for") as renewal:
            vigil("release", "stage", folder, "--renew", role)
        assert hint in renewal.value.hint


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"signed": 1}', b"[" * 100_000])
def test_carried_files_that_are_no_metadata_are_refused(
    repository: Repository, workshop: Any, data: bytes
) -> None:
    repository.add_release(workshop.release())
    with pytest.raises(TrustError):
        repository.collect("gate", data)


def test_a_review_says_what_changes_and_both_people_see_the_same(
    repository: Repository, people: Any, workshop: Any
) -> None:
    repository.add_release(workshop.release())
    before = repository.review("gate")
    assert before.changes[1] == (
        "  release gate/people/1.0, counter 1, agents from 0 on, classes: person"
    )
    assert "  onnx-fp32-640: onnxruntime fp32 640x640, mAP50-95 0.4000" in before.changes
    repository.approve("gate", people.signers["release"][:1])
    assert repository.review("gate") == before
    repository.approve("gate", people.signers["release"][1:2])
    repository.publish(*people.online)
    repository.renew("gate")
    assert repository.review("gate").changes == ("nothing but a later expiry",)


def test_a_review_says_whose_keys_count_from_now_on(repository: Repository, people: Any) -> None:
    old, new = people.signers["root"][0].public_key, CryptoSigner.generate_ed25519().public_key
    replace_key(repository, "root", old, new)
    (change,) = repository.review("root").changes
    assert change == f"signatures for root: 2 of 3 keys (+{new.keyid[:12]} -{old.keyid[:12]})"


def test_nobody_signs_what_is_not_the_file_that_is_listed(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release())
    (manifest,) = repository.staged.rglob("*.manifest.json")
    manifest.write_bytes(manifest.read_bytes().replace(b"0.4", b"0.9"))
    key = tmp_path / "keys/ada.key"
    generate(key.parent, "ada")
    with pytest.raises(TrustError) as refusal:
        vigil("release", "approve", repository.staged.parent, "gate", "--key", key)
    assert refusal.value.code == "trust.different"


def test_at_a_terminal_who_says_no_has_not_signed(
    repository: Repository, people: Any, workshop: Any, tmp_path: Path
) -> None:
    repository.add_release(workshop.release())
    key = tmp_path / "ada.key"
    key.write_bytes(people.signers["release"][0].private_bytes)
    key.chmod(0o600)
    approve = ("release", "approve", str(repository.staged.parent), "gate", "--key", str(key))
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    command = [sys.executable, "-m", "agent", *approve]
    run = subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert "release gate/people/1.0" in run.stdout
    assert run.returncode == 1
    assert not repository.standings()[0].signed
    vigil(*approve, "--yes")
    assert len(repository.standings()[0].signed) == 1
