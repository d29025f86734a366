"""A whole repository, checked by the device's own client: every role, every listed file, every release."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tuf.api.metadata import Targets

from agent.cli.verify_signatures import Signatures
from agent.errors import TrustError
from agent.release.charter import TARGETS
from agent.release.verify import Inspector
from agent.schema.agent_release import AGENT_ROLE, AgentManifest
from agent.schema.document import trusted_json
from agent.schema.manifest import MANIFEST_FILE, Manifest, ReleaseRef
from agent.schema.messages import Policy
from agent.trust.floor import Floor
from agent.trust.policy import check_policy
from agent.update.admission import Facts, admit
from agent.update.sources.folder import FolderSource
from agent.update.targets import Target, target_from
from agent.update.trust_client import POLICY_PATH, TrustClient, Trusted

ANY_CLASS = ""  # the lookups that narrow to a class are not used here


def inspect_repository(public: Path, root: bytes, inspector: Inspector) -> None:
    """Check everything that the published folder `public` offers, beginning with the trusted `root`.

    Findings name places in `public`: `metadata`, `metadata/<role>`, the path of a target, or `signatures/…`.
    """
    source = FolderSource(public)
    with tempfile.TemporaryDirectory() as name, inspector.at("metadata"):
        cache = Path(name) / "metadata"
        cache.mkdir()
        trusted = TrustClient(cache, root, Floor(Path(name) / "floor"), ANY_CLASS).check(source)
        walk = _Walk(source, trusted, inspector)
        signatures = Signatures(public, trusted.document(TARGETS), inspector)
        for role in trusted.roles():
            with inspector.at(f"metadata/{role}"):
                document = trusted.document(role)
                walk.role(role, document)
                signatures.expect(role, document)
        signatures.inspect()


class _Walk:
    """Reads every file once."""

    def __init__(self, source: FolderSource, trusted: Trusted, inspector: Inspector) -> None:
        self._source = source
        self._trusted = trusted
        self._inspector = inspector
        self._seen: set[str] = set()

    def role(self, role: str, document: Targets) -> None:
        """Check what a role lists, manifests before the files that they name."""
        for path in sorted(document.targets, key=lambda path: (not _is_manifest(path), path)):
            if path not in self._seen:
                with self._inspector.at(path):
                    self._judge(role, path, self._read(path))

    def _judge(self, role: str, path: str, data: bytes) -> None:
        if path == POLICY_PATH:
            check_policy(trusted_json(data, Policy, path))
        elif _is_manifest(path) and role == AGENT_ROLE:
            self._agent(path, data)
        elif _is_manifest(path):
            self._release(role, path, data)

    def _release(self, role: str, path: str, data: bytes) -> None:
        manifest, folder = trusted_json(data, Manifest, path), path.rpartition("/")[0]
        # As a device of the class, new, and with an agent that is new enough.
        facts = Facts(role, floor=0, agent_version=manifest.min_agent)
        admit(manifest, ReleaseRef(path=path, sha256=hashlib.sha256(data).hexdigest()), facts)
        self._inspector.release(
            folder, manifest, data, lambda payload: self._read(f"{folder}/{payload.file}")
        )

    def _agent(self, path: str, data: bytes) -> None:
        folder = path.rpartition("/")[0]
        for bundle in trusted_json(data, AgentManifest, path).bundles:
            place = f"{folder}/{bundle.file}"
            with self._inspector.at(place):
                if hashlib.sha256(self._read(place)).hexdigest() != bundle.sha256:
                    message = "not the bundle that the manifest names"
                    raise TrustError(message, code="trust.other_digest")

    def _read(self, path: str) -> bytes:
        """Return a listed file.

        Raises:
            TrustError: Not listed for its path, or not the bytes that are listed.
            TransferError: Not there.
        """
        self._seen.add(path)
        target = target_from(self._trusted.listed(path))
        data = b"".join(self._source.read(target.location, 0))
        _require(target, data)
        return data


def _require(target: Target, data: bytes) -> None:
    """Refuse bytes that are not the target, and say where they begin to differ."""
    if len(data) != target.length:
        message = f"{target.location}: expected {target.length} bytes, found {len(data)}"
        raise TrustError(message, code="trust.other_digest")
    for index, digest in enumerate(target.block_sha256):
        start = index * target.block_size
        block = data[start : start + target.block_length(index)]
        if hashlib.sha256(block).hexdigest() != digest:
            message = f"{target.location}: not what is listed, from the block at byte {start} on"
            raise TrustError(message, code="trust.other_digest")
    if hashlib.sha256(data).hexdigest() != target.sha256:
        message = f"{target.location}: its blocks are as listed, the whole file is not"
        raise TrustError(message, code="trust.other_digest")


def _is_manifest(path: str) -> bool:
    return path.endswith(f"/{MANIFEST_FILE}")
