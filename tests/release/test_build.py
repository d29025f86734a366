"""A release folder: sealed, complete, repeatable."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.errors import ConfigError, KeyUnavailableError, PackageError, StorageError, TrustError
from agent.host.memfd import read_memfd
from agent.release.build import build_release, salt_of
from agent.release.draft_file import CipherName, cipher_of
from agent.release.golden import golden_set
from agent.release.listing import sealed_files
from agent.release.signers import generate, load_public, load_signer, load_signers
from agent.schema.document import parse_json
from agent.schema.manifest import GoldenSet, Manifest
from agent.trust.sealed import Cipher, open_sealed

DEK = bytes(range(32))
RELEASE = "gate/people/1.0"


def plaintext(path: Path, dek: bytes = DEK) -> bytes:
    fd = open_sealed(path.read_bytes(), dek, RELEASE)
    try:
        with read_memfd(fd) as view:
            return view[:]
    finally:
        os.close(fd)


def test_every_file_opens_with_the_releases_key_and_with_no_other(
    workshop: Any, tmp_path: Path
) -> None:
    draft = workshop.draft()
    folder = build_release(tmp_path / "out", draft, DEK).parent
    assert plaintext(folder / "onnx-fp32-320.sealed") == draft.variants[0].model.read_bytes()
    golden = msgspec.msgpack.decode(plaintext(folder / "golden.sealed"), type=GoldenSet)
    assert golden == draft.golden
    with pytest.raises(TrustError):
        plaintext(folder / "onnx-fp32-320.sealed", bytes(32))


@pytest.mark.parametrize(
    ("name", "cpu_aes", "cipher"),
    [
        ("auto", True, Cipher.AES_256_GCM),
        ("auto", False, Cipher.CHACHA20_POLY1305),
        ("aes-256-gcm", False, Cipher.AES_256_GCM),
        ("chacha20-poly1305", True, Cipher.CHACHA20_POLY1305),
    ],
)
def test_the_cipher_is_the_drafts_choice_or_the_cpus(
    name: str, *, cpu_aes: bool, cipher: Cipher
) -> None:
    assert cipher_of(CipherName(name), cpu_aes=cpu_aes) == cipher


@pytest.mark.parametrize("cipher", list(Cipher))
def test_every_file_is_sealed_with_the_drafts_cipher(
    workshop: Any, tmp_path: Path, cipher: Cipher
) -> None:
    draft = dataclasses.replace(workshop.draft(), cipher=cipher)
    folder = build_release(tmp_path / "release", draft, DEK).parent
    sealed = [path for path in folder.iterdir() if path.suffix == ".sealed"]
    assert len(sealed) == 3
    for path in sealed:
        assert path.read_bytes()[7] == cipher
        os.close(open_sealed(path.read_bytes(), DEK, draft.release_id))


def test_the_manifest_names_every_file_as_it_lies_there(workshop: Any, tmp_path: Path) -> None:
    path = build_release(tmp_path / "out", workshop.draft(), DEK)
    manifest = parse_json(path.read_bytes(), Manifest)
    assert manifest.release_id == RELEASE
    payloads = [*sealed_files(manifest), *manifest.documents]
    for payload in payloads:
        data = (path.parent / payload.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (payload.size, payload.sha256)
    assert {p.name for p in path.parent.iterdir()} == {p.file for p in payloads} | {path.name}


def sealed_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_draft_and_key_give_the_same_bytes(workshop: Any, tmp_path: Path) -> None:
    first, second = (build_release(tmp_path / name, workshop.draft(), DEK) for name in "ab")
    assert sealed_bytes(first.parent) == sealed_bytes(second.parent)


def test_another_key_release_name_or_content_gives_another_salt() -> None:
    asked = [
        salt_of(DEK, "gate/people/1.0", "a.sealed", b"weights"),
        salt_of(bytes(32), "gate/people/1.0", "a.sealed", b"weights"),
        salt_of(DEK, "gate/people/1.1", "a.sealed", b"weights"),
        salt_of(DEK, "gate/people/1.0", "b.sealed", b"weights"),
        salt_of(DEK, "gate/people/1.0", "a.sealed", b"weightz"),
        # Where one ends and the next begins counts.
        salt_of(DEK, "gate/people/1.0a", ".sealed", b"weights"),
    ]
    assert len(set(asked)) == len(asked)
    assert {len(salt) for salt in asked} == {32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variants": []}, "at least one"),
        ({"labels": []}, "labels"),
        ({"name": "Not An Identifier"}, r"\$\.name"),
        ({"version": "../1"}, r"\$\.version"),
        ({"counter": -1}, r"\$\.release_counter"),
        ({"golden": GoldenSet([], 0.25, 0.6)}, "golden"),
        ({"labels": ["x"], "golden": None}, "have no name"),
    ],
)
def test_a_draft_that_no_device_would_take_is_refused_and_leaves_nothing(
    workshop: Any, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    draft = workshop.draft()
    if "golden" in change and change["golden"] is None:
        boxes = {v.id: [[(4, 0.9, 0.0, 0.0, 1.0, 1.0)]] for v in draft.variants}
        change = change | {"golden": golden_set([b"i"], boxes, confidence=0.25, iou=0.6)}
    with pytest.raises(PackageError, match=words):
        build_release(tmp_path / "out", dataclasses.replace(draft, **change), DEK)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.partial").exists()


def test_a_missing_model_leaves_no_folder(workshop: Any, tmp_path: Path) -> None:
    draft = workshop.draft()
    draft.variants[1].model.unlink()
    with pytest.raises(StorageError):
        build_release(tmp_path / "out", draft, DEK)
    assert list(tmp_path.glob("*out*")) == []


def test_a_release_is_never_built_over_another(workshop: Any, tmp_path: Path) -> None:
    build_release(tmp_path / "out", workshop.draft(), DEK)
    with pytest.raises(PackageError):
        build_release(tmp_path / "out", workshop.draft(), DEK)


@pytest.mark.parametrize(
    ("images", "expected"), [([], {"v": []}), ([b"i"], {}), ([b"i"], {"v": [[], []]})]
)
def test_golden_sets_must_be_complete(images: list[bytes], expected: dict[str, Any]) -> None:
    with pytest.raises(PackageError):
        golden_set(images, expected, confidence=0.25, iou=0.6)


def test_signer_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    signer = generate(tmp_path / "root", "ada")
    path = tmp_path / "root/ada.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_signer(path).public_key == signer.public_key
    assert load_public(path.with_suffix(".pub")) == signer.public_key
    with pytest.raises(ConfigError, match="exists"):
        generate(tmp_path / "root", "ada")
    assert set(load_signers(tmp_path / "root")) == {"ada"}


def test_a_signer_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    generate(tmp_path, "ada")
    (tmp_path / "ada.key").chmod(0o640)
    with pytest.raises(ConfigError, match="0600"):
        load_signer(tmp_path / "ada.key")


def test_a_missing_or_foreign_signer_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError, match=r"nobody\.key"):
        load_signer(tmp_path / "nobody.key")
    (tmp_path / "bad.key").write_bytes(b"no key")
    (tmp_path / "bad.key").chmod(0o600)
    with pytest.raises(ConfigError, match=r"bad\.key"):
        load_signer(tmp_path / "bad.key")
    with pytest.raises(ConfigError, match="found none"):
        load_signers(tmp_path / "empty")
