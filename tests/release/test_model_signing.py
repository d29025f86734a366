"""Releases signed for OpenSSF's model-signing: its own tool verifies what was approved, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import TrustError
from agent.release.model_signing import FIELD, bundles_of
from tests.release.signing import RELEASE, Site


def verified(folder: Path, signature: Path, key: Path) -> bool:
    """What the public tool says."""
    if importlib.util.find_spec("model_signing") is None:
        pytest.skip("model-signing is not installed")
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(signature), "--public_key", str(key)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert "Traceback" not in run.stderr
    return run.returncode == 0


def test_the_public_tool_verifies_a_release_and_refuses_a_changed_one(
    site: Site, tmp_path: Path
) -> None:
    for copy in site.copies:
        site.carry(copy)
    signatures = site.publish()
    assert len(signatures) == 2
    for number, key in enumerate(site.keys[:2]):
        (mine,) = (one for one in signatures if key.public_key.keyid.startswith(one.name[:12]))
        public = tmp_path / f"keys/release/{number}.pub"
        assert verified(site.built, mine, public)
        assert not verified(site.built, mine, tmp_path / f"keys/release/{1 - number}.pub")
    more = site.built / "more.txt"
    more.write_text("more")
    assert not verified(site.built, mine, public)
    more.unlink()
    manifest = site.built / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert not verified(site.built, mine, public)


def test_what_is_published_can_be_put_together_again(site: Site, tmp_path: Path) -> None:
    for copy in site.copies:
        site.carry(copy)
    signatures = site.publish()
    folder = tmp_path / "again"
    folder.mkdir()
    for path in (site.repository.public / "targets/models" / RELEASE).iterdir():
        shutil.copy(path, folder / path.name.partition(".")[2])
    number = site.keys[0].public_key.keyid.startswith(signatures[1].name[:12])
    assert verified(folder, signatures[number], tmp_path / "keys/release/0.pub")


def test_devices_get_documents_without_bundles(site: Site) -> None:
    for copy in site.copies:
        site.carry(copy)
    site.publish()
    for path in site.repository.public.rglob("*.json"):
        assert FIELD not in path.read_text()
    (statement,) = {
        json.loads(path.read_bytes())["dsseEnvelope"]["payloadType"]
        for path in (site.repository.public / "signatures" / RELEASE).iterdir()
    }
    assert statement == "application/vnd.in-toto+json"


def tampered(site: Site, change: Any) -> bytes:
    document = json.loads((site.copies[0] / "staged/gate.json").read_bytes())
    (bundles,) = document[FIELD].values()
    ((keyid, bundle),) = bundles.items()
    change(document, keyid, bundle)
    return json.dumps(document).encode()


def about_another(document: Any, _keyid: str, _bundle: Any) -> None:
    document[FIELD]["gate/people/2.0"] = document[FIELD].pop(RELEASE)


def by_another(document: Any, keyid: str, _bundle: Any) -> None:
    document[FIELD][RELEASE]["0" * 64] = document[FIELD][RELEASE].pop(keyid)


def with_other_words(_document: Any, _keyid: str, bundle: Any) -> None:
    payload = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = payload[:-8] + "AAAA" + payload[-4:]


def without_signature(_document: Any, _keyid: str, bundle: Any) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def without_envelope(_document: Any, _keyid: str, bundle: Any) -> None:
    del bundle["dsseEnvelope"]


@pytest.mark.parametrize(
    "change", [about_another, by_another, with_other_words, without_signature, without_envelope]
)
def test_a_bundle_that_is_not_right_is_refused_with_the_approval(site: Site, change: Any) -> None:
    with pytest.raises(TrustError):
        site.repository.collect("gate", tampered(site, change))
    assert not next(one for one in site.repository.standings() if one.role == "gate").signed


def test_a_bundle_that_was_changed_where_it_is_staged_is_not_published(site: Site) -> None:
    for copy in site.copies:
        site.carry(copy)
    (site.repository.staged / "gate.json").write_bytes(tampered(site, with_other_words))
    with pytest.raises(TrustError):
        site.publish()
    assert not (site.repository.public / "signatures").exists()


def test_only_new_releases_are_signed_and_only_with_keys_that_the_tool_takes(
    site: Site, workshop: Any
) -> None:
    for copy in site.copies:
        site.carry(copy)
    site.publish()
    site.repository.add_release(workshop.release("1.1", 2))
    edwards = site.people.signers["release"][2]
    assert site.repository.approve("gate", [edwards]) == []
    assert site.repository.approve("gate", site.keys[:1]) == ["gate/people/1.1"]
    document = site.repository._shelf.read_staged("gate")
    assert {release: len(found) for release, found in bundles_of(document).items()} == {
        "gate/people/1.1": 1
    }
