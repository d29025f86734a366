"""Releases on disk.

    blobs/<sha256>                 sealed files, exactly as the repository has them
    parts/<sha256>.part            transfers that are not complete
    releases/<sha256>/             one folder per installed release, by its manifest's digest
        manifest.json  grant.bin   what was signed, and the key wrapped to this device
        release.json               written last: which release and variants this is

Nothing here is secret: weights stay sealed, the grant opens only with the device's key.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.errors import PackageError, StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.manifest import MANIFEST_FILE, Manifest, ReleaseRef, SealedFile, Variant
from agent.schema.values import Identifier, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

GRANT_FILE = "grant.bin"
RECORD_FILE = "release.json"
_MAX_MANIFEST_BYTES = 4 * 2**20
_MAX_SMALL_BYTES = 64 * 1024
_READ_BYTES = 2**20


class _Record(Struct):
    ref: ReleaseRef
    variant: Identifier
    fallbacks: tuple[Identifier, ...] = ()


@dataclass(frozen=True)
class InstalledRelease:
    """A release of which everything is on this disk.

    Attributes:
        ref: Which release it is.
        manifest: What its makers say about it.
        variant: The variant to run.
        folder: Its folder in the store.
        fallbacks: Cheaper variants that are on this disk too, for hard times.
        best: The variant that suits the board best; None where that is the one to run.
    """

    ref: ReleaseRef
    manifest: Manifest
    variant: Variant
    folder: Path
    fallbacks: tuple[Variant, ...] = ()
    best: Variant | None = None

    @property
    def here(self) -> tuple[Variant, ...]:
        """Return all variants on this disk, the one that suits the board best first."""
        return (self.best or self.variant, *self.fallbacks)

    @property
    def payload_path(self) -> Path:
        """Return where the variant's sealed file lies."""
        return self._blob(self.variant.payload)

    @property
    def golden_path(self) -> Path:
        """Return where the sealed golden set lies."""
        return self._blob(self.manifest.golden.payload)

    @property
    def grant_path(self) -> Path:
        """Return where the grant lies."""
        return self.folder / GRANT_FILE

    def running(self, variant_id: str) -> InstalledRelease:
        """Return the same release with another of its variants on this disk as the one to run.

        Raises:
            PackageError: That variant is not here (`package.no_variant`).
        """
        for variant in self.here:
            if variant.id == variant_id:
                return replace(self, variant=variant, best=self.here[0])
        message = f"{self.ref.label}: variant {variant_id} is not on this device"
        raise PackageError(message, code="package.no_variant")

    def _blob(self, file: SealedFile) -> Path:
        return self.folder.parent.parent / "blobs" / file.sha256


class ModelStore:
    """The releases under one folder; the caller decides which of them runs.

    Methods raise `StorageError` when the disk cannot keep what it is told.
    """

    def __init__(self, root: Path, disk: Disk = REAL_DISK) -> None:
        self._blobs = root / "blobs"
        self._parts = root / "parts"
        self._releases = root / "releases"
        self._disk = disk
        self._pinned: ReleaseRef | None = None
        for folder in (self._blobs, self._parts, self._releases):
            disk.make_dirs(folder)

    def part_path(self, sha256: str) -> Path:
        """Return where a transfer of the file with this digest grows."""
        return self._parts / f"{sha256}.part"

    def blob_path(self, sha256: str) -> Path:
        """Return where the complete file with this digest belongs."""
        return self._blobs / sha256

    def install(
        self,
        ref: ReleaseRef,
        manifest_bytes: bytes,
        variant_id: str,
        grant: bytes,
        fallbacks: Sequence[str] = (),
    ) -> InstalledRelease:
        """Record a release whose sealed files are already at their `blob_path`.

        Installing the same release again replaces its record. `fallbacks` names further variants that are there.

        Raises:
            PackageError: Manifest, variant or a sealed file is not what `ref` promises.
        """
        folder = self._releases / ref.sha256
        record = _Record(ref=ref, variant=variant_id, fallbacks=tuple(fallbacks))
        release = self._checked(_assemble(record, manifest_bytes, folder))
        self._disk.make_dirs(folder)
        self._disk.write_atomic(folder / MANIFEST_FILE, manifest_bytes)
        self._disk.write_atomic(folder / GRANT_FILE, grant)
        self._disk.write_atomic(folder / RECORD_FILE, to_json(record))
        return release

    def load(self, ref: ReleaseRef) -> InstalledRelease:
        """Return an installed release after checking that every byte of it is still right.

        Raises:
            PackageError: Something is missing or changed (`model.damaged`).
        """
        release = self._describe(self._releases / ref.sha256)
        if not self._disk.exists(release.grant_path):
            raise _damaged(release.grant_path, "missing")
        return self._checked(release)

    def installed(self) -> list[ReleaseRef]:
        """Return the releases whose record is readable; `load` tells whether they are whole."""
        folders = self._disk.list(self._releases)
        complete = [folder for folder in folders if self._disk.exists(folder / RECORD_FILE)]
        return [self._record(folder).ref for folder in complete]

    def pin(self, ref: ReleaseRef | None) -> None:
        """Keep one more release through every `keep_only` from now on; None for none."""
        self._pinned = ref

    def keep_only(self, refs: Iterable[ReleaseRef]) -> None:
        """Remove all other releases but the pinned one, their sealed files and all unfinished transfers."""
        kept = [*refs, *([self._pinned] if self._pinned else [])]
        folders = {self._releases / ref.sha256 for ref in kept}
        files = {path for folder in folders for path in self._files_of(folder)}
        for folder in self._disk.list(self._releases):
            if folder not in folders:
                self._remove_release(folder)
        for path in (*self._disk.list(self._blobs), *self._disk.list(self._parts)):
            if path not in files:
                self._disk.remove(path)

    def _files_of(self, folder: Path) -> set[Path]:
        """Return the sealed files of a release; none when its own records are damaged."""
        try:
            release = self._describe(folder)
        except PackageError:
            return set()
        payloads = {self.blob_path(variant.payload.sha256) for variant in release.here}
        return {release.golden_path, *payloads}

    def _remove_release(self, folder: Path) -> None:
        # The record goes first: a folder without one is no release.
        self._disk.remove(folder / RECORD_FILE)
        for path in self._disk.list(folder):
            self._disk.remove(path)
        self._disk.remove(folder)

    def _record(self, folder: Path) -> _Record:
        path = folder / RECORD_FILE
        try:
            return parse_json(self._read(path, _MAX_SMALL_BYTES), _Record)
        except Malformed as error:
            raise _damaged(path, str(error)) from error

    def _describe(self, folder: Path) -> InstalledRelease:
        """Read the records in a release's folder, without looking at its sealed files."""
        record = self._record(folder)
        manifest_bytes = self._read(folder / MANIFEST_FILE, _MAX_MANIFEST_BYTES)
        return _assemble(record, manifest_bytes, folder)

    def _checked(self, release: InstalledRelease) -> InstalledRelease:
        """Return the release with those of its fallbacks that are whole; all else must be."""
        self._check_blob(release.payload_path, release.variant.payload)
        self._check_blob(release.golden_path, release.manifest.golden.payload)
        return replace(release, fallbacks=tuple(filter(self._is_whole, release.fallbacks)))

    def _is_whole(self, fallback: Variant) -> bool:
        try:
            self._check_blob(self.blob_path(fallback.payload.sha256), fallback.payload)
        except PackageError as error:
            logger.warning("fallback %s is left out: %s", fallback.id, error)
            return False
        return True

    def _check_blob(self, path: Path, file: SealedFile) -> None:
        if not self._disk.exists(path):
            raise _damaged(path, f"missing ({file.file})")
        size, digest = self._measure(path)
        if (size, digest) != (file.size, file.sha256):
            raise _damaged(path, f"not the {file.size} bytes that were signed as {file.file}")

    def _measure(self, path: Path) -> tuple[int, str]:
        """Return the size and SHA-256 of a file, reading it in pieces."""
        digest, offset = hashlib.sha256(), 0
        part = self._disk.open_part(path)
        try:
            while data := part.read_at(offset, _READ_BYTES):
                digest.update(data)
                offset += len(data)
        finally:
            part.close()
        return offset, digest.hexdigest()

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            return self._disk.read(path, limit)
        except StorageError as error:
            if error.code in {"storage.missing", "storage.too_long"}:
                raise _damaged(path, error.message) from error
            raise


def _assemble(record: _Record, manifest_bytes: bytes, folder: Path) -> InstalledRelease:
    manifest = _manifest(record.ref, manifest_bytes)
    variants = {variant.id: variant for variant in manifest.variants}
    for name in (record.variant, *record.fallbacks):
        if name not in variants:
            raise _damaged(folder, f"the manifest has no variant {name!r}")
    fallbacks = tuple(variants[name] for name in record.fallbacks)
    return InstalledRelease(record.ref, manifest, variants[record.variant], folder, fallbacks)


def _manifest(ref: ReleaseRef, data: bytes) -> Manifest:
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise PackageError(
            f"manifest of {ref.label}: not the bytes that were signed", code="model.damaged"
        )
    try:
        return parse_json(data, Manifest)
    except Malformed as error:
        message = f"manifest of {ref.label}: {error}"
        raise PackageError(message, code="package.manifest") from error


def _damaged(path: Path, problem: str) -> PackageError:
    hint = "the update that brought it can be asked for again"
    return PackageError(f"{path}: {problem}", code="model.damaged", hint=hint)
