"""Where the files of a repository lie: published and staged documents, and their targets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from agent.errors import PackageError, TrustError
from agent.host.disk import Disk
from agent.release import documents, online
from agent.release.charter import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from agent.release.listing import FILE_LIMIT
from agent.release.model_signing import drop_bundles

DOCUMENT_LIMIT = 5_000_000  # bytes; devices refuse more
SIGNATURES = "signatures"  # folder of the published bundles for model-signing
_RANK = {ROOT: 0, TARGETS: 1}


class Shelf:
    """The files below `folder`; knows names and places, decides nothing about trust.

    Attributes:
        public: What devices may see: `metadata/` and `targets/`; `signatures/` are for others.
        staged: What is being approved.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.public = folder / "public"
        self.staged = folder / "staged"
        self.metadata = self.public / "metadata"
        self._disk = disk

    def make(self) -> None:
        """Create the folders.

        Raises:
            PackageError: There is a repository already.
        """
        if self._disk.exists(self.public) or self._disk.exists(self.staged):
            hint = "name another folder; if this one's making was cut off, remove it first"
            raise PackageError(f"{self.public.parent}: a repository is there already", hint=hint)
        self._disk.make_dirs(self.staged)
        self._disk.make_dirs(self.metadata)

    def staged_roles(self) -> list[str]:
        """Return what is staged, delegators before what they delegate to."""
        names = [path.stem for path in self._disk.list(self.staged) if path.suffix == ".json"]
        return sorted(names, key=lambda name: (_RANK.get(name, len(_RANK)), name))

    def roles(self) -> list[str]:
        """Return the roles that people sign for: root, targets and what the staged or published targets delegate."""
        is_there = TARGETS in self.staged_roles() or self.latest_version(TARGETS)
        delegated = self.current(TARGETS).signed.delegations.roles if is_there else ()
        return [ROOT, TARGETS, *sorted(delegated)]

    def require_role(self, role: str) -> None:
        """Make sure that people sign for `role`.

        Raises:
            TrustError: `trust.unknown_role`, with those there are.
        """
        if role in (roles := self.roles()):
            return
        message = f"{role}: expected a role that people sign for, {', '.join(roles)}"
        hint = f"staged now: {', '.join(self.staged_roles()) or 'nothing'}"
        if role in {SNAPSHOT, TIMESTAMP}:
            hint = "the online keys sign it anew: vigil release refresh"
        raise TrustError(message, code="trust.unknown_role", hint=hint)

    def stage(self, role: str, document: Metadata[Any]) -> None:
        """Keep `document` as the staged one of `role`.

        Raises:
            PackageError: Longer than devices accept.
            TrustError: It lists one public key twice.
        """
        data = document.to_bytes()
        documents.read_document(data, f"staged {role}", kind_of(role))
        if len(data) > DOCUMENT_LIMIT:
            message = f"{role}: expected at most {DOCUMENT_LIMIT} bytes, found {len(data)}"
            raise PackageError(message, code="package.too_long")
        self._disk.write_atomic(self.staged / f"{role}.json", data)

    def read_staged(self, role: str) -> Metadata[Any]:
        """Return the staged document of `role`.

        Raises:
            TrustError: There is none, or it is not metadata.
        """
        path = self.staged / f"{role}.json"
        if not self._disk.exists(path):
            self.require_role(role)
            staged = ", ".join(self.staged_roles()) or "nothing"
            message = f"{role}: nothing is staged for it; staged now: {staged}"
            hint = "stage it first: vigil release stage"
            raise TrustError(message, code="trust.nothing", hint=hint)
        return self._read(path, role)

    def published(self, role: str) -> Metadata[Any]:
        """Return the newest published document of `role`.

        Raises:
            TrustError: There is none, or it is not metadata.
        """
        version = self.latest_version(role)
        if not version:
            message = f"{self.public}: no {role} is published"
            hint = f"the roles of this repository are {', '.join(self.roles())}"
            raise TrustError(message, code="trust.unknown_role", hint=hint)
        return self._read(self.metadata / f"{version}.{role}.json", role)

    def before(self, role: str) -> Root | Targets | None:
        """Return what counts now of `role`, None before it is published."""
        signed: Root | Targets | None = None
        if self.latest_version(role):
            signed = self.published(role).signed
        return signed

    def current(self, role: str) -> Metadata[Any]:
        """Return the staged document of `role`, else the published one.

        Raises:
            TrustError: There is neither.
        """
        is_staged = self._disk.exists(self.staged / f"{role}.json")
        return self.read_staged(role) if is_staged else self.published(role)

    def delegator(self, role: str) -> documents.Delegator:
        """Return the document that says whose signatures count for `role`."""
        parent: documents.Delegator = self.current(ROOT if role in _RANK else TARGETS).signed
        return parent

    def latest_version(self, role: str) -> int:
        """Return the greatest published version of `role`, 0 when there is none."""
        return online.latest_version(self.metadata, role, self._disk)

    def stage_target(self, target: TargetFile, data: bytes) -> None:
        """Keep a target's bytes until its document is published."""
        place = self.staged / "targets" / _hashed(target)
        self._disk.make_dirs(place.parent)
        self._disk.write_atomic(place, data, mode=0o644)

    def target_reader(self, role: str, *, published: bool = False) -> Callable[[str], bytes]:
        """Return what reads a target that the staged, or `published`, document of `role` lists.

        What it returns raises `TrustError` for bytes that are not what is listed, and `StorageError` where there are none.
        """
        listed = (self.published(role) if published else self.read_staged(role)).signed

        def read(path: str) -> bytes:
            target = listed.targets[path]
            places = [folder / "targets" / _hashed(target) for folder in (self.staged, self.public)]
            place = next(filter(self._disk.exists, places), places[0])
            data = self._disk.read(place, FILE_LIMIT)
            try:
                target.verify_length_and_hashes(data)
            except LengthOrHashMismatchError as error:
                hint = "stage it again, or copy the repository again"
                raise TrustError(f"{place}: {error}", code="trust.different", hint=hint) from error
            return data

        return read

    def publish_targets(self, document: Metadata[Any]) -> None:
        """Copy the staged targets that `document` lists to where devices find them."""
        listed = document.signed.targets if isinstance(document.signed, Targets) else {}
        for target in listed.values():
            staged = self.staged / "targets" / _hashed(target)
            place = self.public / "targets" / _hashed(target)
            if self._disk.exists(staged) and not self._disk.exists(place):
                self._disk.make_dirs(place.parent)
                data = self._disk.read(staged, FILE_LIMIT)
                target.verify_length_and_hashes(data)
                self._disk.write_atomic(place, data, mode=0o644)

    def publish_document(self, role: str, document: Metadata[Any]) -> None:
        """Write a document under its version, and its bundles as files; devices see it with the next timestamp."""
        for path, bundle in drop_bundles(document).items():
            if not path.startswith(f"{role}/"):
                # Of another class, whose bundle it must not replace; devices refuse such a target.
                continue
            place = self.public / SIGNATURES / path
            self._disk.make_dirs(place.parent)
            self._disk.write_atomic(place, bundle, mode=0o644)
        name = f"{document.signed.version}.{role}.json"
        self._disk.write_atomic(self.metadata / name, document.to_bytes(), mode=0o644)

    def clear_staged(self) -> None:
        """Forget everything staged."""
        shutil.rmtree(self.staged)
        self._disk.make_dirs(self.staged)

    def first_root(self) -> bytes:
        """Return version 1 of the root document as it was published."""
        return self._disk.read(self.metadata / f"1.{ROOT}.json", DOCUMENT_LIMIT)

    def _read(self, path: Path, role: str) -> Metadata[Any]:
        data = self._disk.read(path, DOCUMENT_LIMIT)
        return documents.read_document(data, str(path), kind_of(role))


def kind_of(role: str) -> type[Root | Targets]:
    """Return the type of a role's document."""
    return Root if role == ROOT else Targets


def _hashed(target: TargetFile) -> str:
    """Return the file a target lies in under consistent snapshots (TUF 6.2)."""
    folder, _, name = target.path.rpartition("/")
    return f"{folder}/{target.hashes['sha256']}.{name}"
