"""The bundles for OpenSSF's model-signing in a published repository: whether they hold, and whether any is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Targets

from agent.errors import TransferError, TrustError
from agent.host.disk import REAL_DISK
from agent.release.documents import keys_of, read_document, standing
from agent.release.model_signing import LIMIT, SCHEME, Bundle, place_of, releases_of, require_bundle
from agent.release.shelf import DOCUMENT_LIMIT, SIGNATURES
from agent.release.verify import Inspector
from agent.schema.document import trusted_json


class Signatures:
    """What lies in `signatures`, and what should.

    Args:
        public: The published folder.
        delegator: The trusted top-level targets: whose bundles count.
        inspector: Told what is wrong and what holds.
    """

    def __init__(self, public: Path, delegator: Targets, inspector: Inspector) -> None:
        self._public = public
        self._delegator = delegator
        self._inspector = inspector
        self._listed: dict[str, dict[str, str]] = {}
        self._keys: dict[str, dict[str, Key]] = {}
        self._due: set[str] = set()

    def expect(self, role: str, document: Targets) -> None:
        """Take over the releases that the trusted `document` of `role` lists, and the bundles that its approvers made.

        Raises:
            TrustError: An earlier document is no metadata.
        """
        listed = dict(releases_of(document, {}))
        own = {name: files for name, files in listed.items() if name.startswith(f"{role}/")}
        self._listed |= own
        self._keys[role] = keys_of(role, self._delegator)
        for release, keyid in self._signed(role, document.version):
            if release in own:
                self._due.add(place_of(release, keyid))

    def inspect(self) -> None:
        """Look at every file that is there or should be."""
        folder = self._public / SIGNATURES
        there = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
        for path in sorted(there | self._due):
            with self._inspector.at(f"{SIGNATURES}/{path}"):
                if path not in there:
                    message = "not there, though its key approved the release"
                    raise TransferError(message, code="transfer.not_found")
                self._judge(path, REAL_DISK.read(folder / path, LIMIT))

    def _judge(self, path: str, data: bytes) -> None:
        release = path.rpartition("/")[0]
        role = release.partition("/")[0]
        files = self._listed.get(release)
        if files is None:
            message = "about no release that is listed; remove it"
            raise TrustError(message, code="trust.unlisted")
        keys = self._keys[role]
        keyid = next((one for one in keys if place_of(release, one) == path), None)
        if keyid is None:
            message = f"by a key that has no say in {role}, or has none any more; remove it"
            raise TrustError(message, code="trust.unknown_key")
        bundle = trusted_json(data, Bundle, f"{SIGNATURES}/{path}")
        require_bundle(bundle, release, files, keyid, keys)
        self._inspector.bundle(release)

    def _signed(self, role: str, newest: int) -> Iterator[tuple[str, str]]:
        """Yield each release and key id of a bundle that was made when the release was new in a document.

        Only keys that still have a say are counted, and only documents of which the one before is here, too.
        """
        keys = self._keys[role]
        before: Mapping[str, object] | None = {}
        for version in range(1, newest + 1):
            document = self._document(role, version)
            if document is not None and before is not None:
                signed = standing(role, document, self._delegator).signed
                able = [keyid for keyid in signed if keys[keyid].scheme == SCHEME]
                for release, _ in releases_of(document.signed, before):
                    yield from ((release, keyid) for keyid in able)
            before = None if document is None else document.signed.targets

    def _document(self, role: str, version: int) -> Metadata[Any] | None:
        """Return one of a role's documents, None where it is not kept."""
        path = self._public / "metadata" / f"{version}.{role}.json"
        if not path.exists():
            return None
        data = REAL_DISK.read(path, DOCUMENT_LIMIT)
        document = read_document(data, path.name, Targets)
        return document if document.signed.version == version else None
