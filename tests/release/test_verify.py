"""`vigil release verify` says what devices would refuse, and where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import SSlibKey

from agent.demo.releases import Script, draft_of
from agent.errors import ConfigError
from agent.release.agent_release import build_agent_release
from agent.release.build import build_release
from agent.release.repository import Repository
from agent.release.verify import Verification
from agent.schema.manifest import Manifest
from agent.trust.sealed import seal
from tests.parts.signed_repository import SignedRepository, make_release
from tests.release.drafts import vigil
from tests.release.verified import checked, faults, of_repository

DEK = bytes(range(32))
PLACE = "models/gate/people/1.0"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "release.key"
    path.write_bytes(DEK)
    return path


def of_folder(signed: SignedRepository, folder: Path) -> Verification:
    """The published folder alone, as a web server has it."""
    for name, data in signed.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    root = folder.parent / "root.json"
    root.write_bytes(signed.root_bytes)
    return checked(folder, "--root", root)


def stored(repository: Repository, name: str) -> Path:
    (path,) = (repository.public / "targets" / PLACE).glob(f"*.{name}")
    return path


def test_a_sound_repository_is_told_with_its_releases(published: Repository, key: Path) -> None:
    found = of_repository(published, "--key", key)
    (release,) = found.releases
    assert (release.release, release.files, release.opened) == ("gate/people/1.0", 3, 3)
    assert release.sha256 == published.releases("gate")[0].sha256


def test_without_a_key_nothing_is_opened(published: Repository) -> None:
    assert of_repository(published).releases[0].opened == 0


def test_an_agent_release_is_looked_at_too(
    published: Repository, people: Any, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/vigil_agent-2.0-py3-none-any.whl").write_bytes(b"a wheel")
    build_agent_release(tmp_path / "agent", {"3.11-x86_64": tmp_path / "wheels"}, "0")
    published.add_agent(tmp_path / "agent")
    published.approve("targets", people.signers["targets"][:2])
    published.approve("agent", people.signers["policy"][:2])
    published.publish(*people.online)
    assert not of_repository(published).findings
    (bundle,) = (published.public / "targets/agent/2.0").glob("*.tar")
    bundle.unlink()
    place = "agent/2.0/vigil-311-x86_64.tar"
    assert faults(of_repository(published)) == [(place, "transfer.not_found")]


def test_a_policy_that_devices_cannot_read_is_found(tmp_path: Path) -> None:
    signed = SignedRepository()
    signed.enter("policy", "policy/commands.json", b'{"schema": 1}')
    signed.add(make_release())
    signed.publish()
    found = of_folder(signed, tmp_path / "public")
    assert [one.place for one in found.findings] == ["policy/commands.json"]
    assert [one.release for one in found.releases] == ["pi5/shapes/1.1"]


def test_a_changed_file_is_named_with_the_byte(published: Repository) -> None:
    path = stored(published, "onnx-fp32-640.sealed")
    data = bytearray(path.read_bytes())
    data[300_000] ^= 1
    path.write_bytes(data)
    (finding,) = of_repository(published).findings
    assert (finding.place, finding.code) == (f"{PLACE}/onnx-fp32-640.sealed", "trust.other_digest")
    assert "from the block at byte 262144 on" in finding.problem


def test_all_faults_are_told_at_once(published: Repository) -> None:
    stored(published, "golden.sealed").unlink()
    stored(published, "onnx-fp32-320.sealed").write_bytes(b"short")
    assert faults(of_repository(published)) == [
        (f"{PLACE}/onnx-fp32-320.sealed", "trust.other_digest"),
        (f"{PLACE}/golden.sealed", "transfer.not_found"),
    ]


def test_too_few_approvals_are_named_with_the_role(tmp_path: Path) -> None:
    signed = SignedRepository()
    signed.add(make_release())
    del signed.signers["pi5"][1:]
    signed.publish()
    assert faults(of_folder(signed, tmp_path / "public")) == [("metadata/pi5", "trust.unsigned")]


def test_another_root_trusts_nothing(published: Repository, tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(SignedRepository().root_bytes)
    found = checked(published.public, "--root", root)
    assert faults(found) == [("metadata", "trust.unsigned")]
    assert not found.releases


def test_a_key_listed_twice_is_found(tmp_path: Path) -> None:
    signed = SignedRepository()
    key = signed.signers["timestamp"][0].public_key
    signed.root.add_key(SSlibKey("0" * 64, key.keytype, key.scheme, key.keyval), "timestamp")
    signed.root.version += 1
    signed.publish_root()
    assert faults(of_folder(signed, tmp_path / "public")) == [("metadata", "trust.repeated_key")]


def test_a_release_listed_by_another_class_is_found(tmp_path: Path) -> None:
    signed = SignedRepository()
    release = signed.add(make_release(), role="jetson")
    signed.publish()
    places = {f"{release.folder}/{name}" for name in release.files}
    found = of_folder(signed, tmp_path / "public")
    assert set(faults(found)) == {(place, "trust.unlisted") for place in places}


def test_a_manifest_that_names_other_bytes_is_found(tmp_path: Path) -> None:
    signed = SignedRepository()
    release = make_release()
    path = f"{release.folder}/golden.sealed"
    signed.add(release)
    signed.enter("pi5", path, seal(b"another", release.dek, release.manifest.release_id))
    signed.publish()
    assert faults(of_folder(signed, tmp_path / "public")) == [(path, "package.damaged")]


def test_a_built_release_is_opened_and_compared(tmp_path: Path, key: Path) -> None:
    build_release(tmp_path / "built", draft_of(Script("1.0", 1, ("parts-1.tflite",))), DEK)
    (release,) = checked(tmp_path / "built", "--key", key).releases
    assert (release.files, release.opened) == (2, 2)


def test_a_wrong_key_is_named(workshop: Any, tmp_path: Path, key: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(bytes(32))
    found = checked(workshop.release(), "--key", key, "--key", other)
    assert faults(found) == [(str(other), "trust.wrong_key")]


def reseal(folder: Path, name: str, plaintext: bytes, dek: bytes = DEK) -> None:
    """Put other content into a release's file, and let the manifest name it, and no documents, which are about the old one."""
    path = folder / "manifest.json"
    text = path.read_text()
    before = (folder / name).read_bytes()
    after = seal(plaintext, dek, msgspec.json.decode(text, type=Manifest).release_id)
    (folder / name).write_bytes(after)
    for old, new in ((digest(before), digest(after)), (f":{len(before)}", f":{len(after)}")):
        text = text.replace(old, new)
    manifest = msgspec.json.decode(text, type=Manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, documents=[])))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("name", "plaintext", "dek", "code"),
    [
        ("golden.sealed", b"no golden set", DEK, "package.manifest"),
        ("golden.sealed", msgspec.msgpack.encode([[], 0.25, 0.6]), DEK, "package.manifest"),
        (
            "golden.sealed",
            msgspec.msgpack.encode([[[b"image", {"onnx-fp32-320": []}]], 0.25, 0.6]),
            DEK,
            "package.manifest",
        ),
        ("onnx-fp32-320.sealed", b"\0\0\0\0TFL3 a LiteRT file", DEK, "package.manifest"),
        ("onnx-fp32-320.sealed", b"sealed with another key", bytes(32), "trust.wrong_key"),
    ],
)
def test_what_is_sealed_must_be_what_the_manifest_says(
    workshop: Any, key: Path, name: str, plaintext: bytes, dek: bytes, code: str
) -> None:
    folder = workshop.release()
    reseal(folder, name, plaintext, dek)
    assert faults(checked(folder, "--key", key)) == [(f"{folder}/{name}", code)]
    assert not checked(folder).findings, "without the key it cannot be known"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: folder, "neither"),
        (lambda folder: (folder / "public/metadata").mkdir(parents=True) or folder, "--root"),
    ],
)
def test_what_cannot_be_checked_is_said(
    tmp_path: Path, make: Callable[[Path], Path], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        vigil("release", "verify", make(tmp_path))


def test_the_manifest_itself_is_looked_at(workshop: Any) -> None:
    folder = workshop.release()
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"onnx-fp32-640"', '"onnx-fp32-320"'))
    assert faults(checked(folder)) == [(str(path), "package.manifest")]
    path.write_text("{}")
    assert faults(checked(folder)) == [(str(path), "package.manifest")]
