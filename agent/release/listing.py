"""Release folders and policies as TUF targets: sizes, digests and a digest per transfer block (pure but for reading)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from agent.errors import PackageError
from agent.host.disk import Disk
from agent.release.attest import require_agreement
from agent.schema.blocks import BLOCK_BYTES
from agent.schema.document import Malformed, parse_json
from agent.schema.manifest import MANIFEST_FILE, Manifest, ReleaseRef, SealedFile

FILE_LIMIT = 1 << 30
_MANIFEST_LIMIT = 1 << 20


def target_of(path: str, data: bytes, custom: dict[str, Any]) -> TargetFile:
    """Describe `data` as the target `path`, with the digests of its blocks beside `custom`."""
    blocks = [
        hashlib.sha256(data[start : start + BLOCK_BYTES]).hexdigest()
        for start in range(0, len(data), BLOCK_BYTES)
    ]
    extra = {"block_size": BLOCK_BYTES, "block_sha256": blocks, **custom}
    hashes = {"sha256": hashlib.sha256(data).hexdigest()}
    return TargetFile(len(data), hashes, path, {"custom": extra})


def read_manifest(folder: Path, disk: Disk) -> Manifest:
    """Read the manifest of a release folder.

    Raises:
        PackageError: It does not fit its schema.
        StorageError: It cannot be read.
    """
    path = folder / MANIFEST_FILE
    try:
        return parse_json(disk.read(path, _MANIFEST_LIMIT), Manifest)
    except Malformed as error:
        raise PackageError(f"{path}: {error}", code="package.manifest") from error


def release_targets(folder: Path, disk: Disk) -> tuple[Manifest, dict[str, bytes]]:
    """Read a release folder and check it against its own manifest.

    Returns:
        The manifest, and every file's bytes by target path.

    Raises:
        PackageError: A file is not the one the manifest names, or SBOM or provenance are about others.
        StorageError: A file cannot be read.
    """
    manifest = read_manifest(folder, disk)
    base = f"models/{manifest.release_id}"
    files = {f"{base}/{MANIFEST_FILE}": disk.read(folder / MANIFEST_FILE, _MANIFEST_LIMIT)}
    payloads = sealed_files(manifest)
    for payload in (*payloads, *manifest.documents):
        data = disk.read(folder / payload.file, FILE_LIMIT)
        require_payload(str(folder / payload.file), payload, data)
        files[f"{base}/{payload.file}"] = data
    documents = {one.file: files[f"{base}/{one.file}"] for one in manifest.documents}
    require_agreement({one.file: one.sha256 for one in payloads}, documents)
    return manifest, files


def sealed_files(manifest: Manifest) -> list[SealedFile]:
    """Return the sealed files that a manifest names."""
    return [*(variant.payload for variant in manifest.variants), manifest.golden.payload]


def refuse_old(targets: Targets, custom: dict[str, Any]) -> None:
    """Refuse a release whose version is published, or whose counter does not rise.

    Raises:
        PackageError: `package.published` or `package.counter`.
    """
    release, counter = custom["release"], custom["release_counter"]
    known = {t.custom["release"]: t.custom["release_counter"] for t in targets.targets.values()}
    if release in known:
        message = f"{release}: this version is published already"
        raise PackageError(message, code="package.published", hint="give it a new version")
    if known and counter <= max(known.values()):
        message = f"{release}: expected a counter above {max(known.values())}, found {counter}"
        raise PackageError(message, code="package.counter")


def reference(target: TargetFile) -> ReleaseRef:
    """Return the release whose manifest a target is."""
    return ReleaseRef(
        path=target.path,
        sha256=target.hashes["sha256"],
        counter=target.custom["release_counter"],
    )


def require_payload(place: str, payload: SealedFile, data: bytes) -> None:
    """Refuse bytes that are not the sealed file that a manifest names; `place` names them in the error.

    Raises:
        PackageError: `package.damaged`.
    """
    digest = hashlib.sha256(data).hexdigest()
    if (len(data), digest) != (payload.size, payload.sha256):
        message = (
            f"{place}: expected {payload.size} bytes with sha256 {payload.sha256[:12]}, "
            f"found {len(data)} with {digest[:12]}"
        )
        raise PackageError(message, code="package.damaged", hint="build the release again")
