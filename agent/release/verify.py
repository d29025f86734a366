"""Whether a release is whole: its manifest against its files and, with the keys, against what is sealed in them.

A fault is a finding and ends nothing: all that is wrong is told at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from agent.errors import PackageError, TrustError, VigilError
from agent.host.disk import REAL_DISK, Disk
from agent.release.attest import require_agreement
from agent.release.listing import FILE_LIMIT, read_manifest, require_payload, sealed_files
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.manifest import MANIFEST_FILE, GoldenSet, Manifest, SealedFile, Variant
from agent.schema.values import BackendName, Counter, Struct
from agent.trust.sealed import open_sealed

_LITERT_MARK = slice(4, 8), b"TFL3"  # FlatBuffers: the file identifier follows the root's offset


class Finding(Struct):
    """What is wrong: where, the stable code of the fault, and the same in words."""

    place: str
    code: str
    problem: str


class VerifiedRelease(Struct):
    """One release that was looked at.

    Attributes:
        sha256: Digest of its manifest, which a `deploy` command names.
        files: Sealed files that it names.
        opened: Those of them that a given key opened.
        bundles: Signatures for OpenSSF's model-signing that are published with it and hold.
    """

    release: str
    sha256: str
    files: Counter
    opened: Counter
    bundles: Counter = 0


class Verification(Struct):
    """What `vigil release verify --json` gives; without findings all is well."""

    subject: str
    releases: list[VerifiedRelease]
    findings: list[Finding]


class Inspector:
    """Collects what is found.

    Args:
        keys: Keys of releases, 32 bytes each, by the name that findings call them. Each must open a release.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = keys
        self._useful: set[str] = set()
        self._releases: list[VerifiedRelease] = []
        self._findings: list[Finding] = []
        self._bundles: Tally[str] = Tally()

    def result(self, subject: str) -> Verification:
        """Return everything found so far; a key that opened nothing is a finding, too."""
        idle = [
            Finding(place=name, code="trust.wrong_key", problem="opens none of these releases")
            for name in self._keys
            if name not in self._useful
        ]
        releases = [replace(one, bundles=self._bundles[one.release]) for one in self._releases]
        return Verification(subject=subject, releases=releases, findings=self._findings + idle)

    @contextlib.contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Make a finding at `place` of an error that is raised inside."""
        try:
            yield
        except VigilError as error:
            problem = error.message.removeprefix(f"{place}: ")
            self._findings.append(Finding(place=place, code=error.code, problem=problem))

    def bundle(self, release: str) -> None:
        """Count a bundle of model-signing about a release that holds."""
        self._bundles[release] += 1

    def folder(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        """Look at a release folder, as `agent.release.build` made it."""
        with self.at(str(folder / MANIFEST_FILE)):
            manifest = read_manifest(folder, disk)
            data = disk.read(folder / MANIFEST_FILE, FILE_LIMIT)
            self.release(
                str(folder), manifest, data, lambda one: disk.read(folder / one.file, FILE_LIMIT)
            )

    def release(
        self, place: str, manifest: Manifest, data: bytes, read: Callable[[SealedFile], bytes]
    ) -> None:
        """Look at one release.

        Args:
            place: Folder that findings name.
            manifest: What the release says of itself, and the bytes in `data`.
            data: The manifest's file.
            read: Gives a sealed file; what it raises is a finding.
        """
        with self.at(f"{place}/{MANIFEST_FILE}"):
            _refuse_repeated(manifest)
        shut: list[str] = []
        opened = 0
        checks = [(one.payload, _variant_check(one)) for one in manifest.variants]
        for payload, check in [*checks, (manifest.golden.payload, _golden_check(manifest))]:
            where = f"{place}/{payload.file}"
            with self.at(where):
                blob = read(payload)
                require_payload(where, payload, blob)
                plaintext = self._open(blob, manifest.release_id)
                if plaintext is None:
                    shut.append(where)
                    continue
                opened += 1
                check(plaintext)
        self._documents(place, manifest, read)
        for where in shut if opened else []:
            with self.at(where):
                message = "sealed with another key than the rest of its release"
                raise TrustError(message, code="trust.wrong_key")
        self._releases.append(
            VerifiedRelease(
                release=manifest.release_id,
                sha256=hashlib.sha256(data).hexdigest(),
                files=len(checks) + 1,
                opened=opened,
            )
        )

    def _documents(
        self, place: str, manifest: Manifest, read: Callable[[SealedFile], bytes]
    ) -> None:
        """Look at SBOM and provenance: as the manifest names them, and about its files."""
        sealed = {one.file: one.sha256 for one in sealed_files(manifest)}
        for one in manifest.documents:
            where = f"{place}/{one.file}"
            with self.at(where):
                data = read(one)
                require_payload(where, one, data)
                require_agreement(sealed, {one.file: data})

    def _open(self, blob: bytes, release_id: str) -> bytes | None:
        """Return what is sealed, None where no key fits."""
        for name, key in self._keys.items():
            try:
                fd = open_sealed(blob, key, release_id)
            except TrustError as error:
                if error.code != "trust.wrong_key":
                    raise
                continue
            self._useful.add(name)
            with os.fdopen(fd, "rb") as file:
                return file.read()
        return None


def _refuse_repeated(manifest: Manifest) -> None:
    counts = Tally(variant.id for variant in manifest.variants)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated or not counts:
        found = f"{repeated} twice" if repeated else "none"
        message = f"expected variants with an id of their own, found {found}"
        raise PackageError(message, code="package.manifest")


def _variant_check(variant: Variant) -> Callable[[bytes], None]:
    def check(plaintext: bytes) -> None:
        place, mark = _LITERT_MARK
        if (plaintext[place] == mark) != (variant.backend is BackendName.LITERT):
            message = f"variant {variant.id}: no model for {variant.backend.value} is sealed in it"
            raise PackageError(message, code="package.manifest")

    return check


def _golden_check(manifest: Manifest) -> Callable[[bytes], None]:
    """Return what refuses a golden set without boxes of a variant, or with classes that have no name."""

    def check(plaintext: bytes) -> None:
        try:
            golden = parse_msgpack(plaintext, GoldenSet)
        except Malformed as error:
            raise PackageError(f"golden set: {error}", code="package.manifest") from error
        wanted, labels = {one.id for one in manifest.variants}, range(len(manifest.labels))
        for index, frame in enumerate(golden.frames):
            classes = {box[0] for boxes in frame.expected.values() for box in boxes}
            if lacking := sorted(wanted - frame.expected.keys()):
                message = f"golden frame {index}: expected boxes of {lacking}, found none"
                raise PackageError(message, code="package.manifest")
            if nameless := sorted(classes - set(labels)):
                message = f"golden frame {index}: the manifest has no names of classes {nameless}"
                raise PackageError(message, code="package.manifest")
        if not golden.frames:
            raise PackageError("golden set: it has no frames", code="package.manifest")

    return check
