"""A signed fleet repository in memory: edit it, publish it, rotate its keys, read it as a `Source`.

    repository = SignedRepository()
    release = repository.add(make_release(counter=1))
    repository.publish()
    TrustClient(folder, repository.root_bytes, floor, "pi5").check(repository)

The roles are those of a real fleet: root 2 of 3, targets 2 of 3, one terminating role per device class,
policy 2 of 3, snapshot and timestamp online. Files lie where consistent snapshots put them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from agent.errors import TransferError
from agent.schema.document import to_json
from agent.schema.manifest import GoldenSpec, InputSpec, Manifest, ReleaseRef, SealedFile, Variant
from agent.schema.values import BackendName, FamilyName, Precision
from agent.trust.sealed import seal

BLOCK = 16 * 1024  # small, so that small payloads have many blocks
PIECE = 40_000  # what one read yields: neither a block nor a multiple of one
DEVICE_CLASS = "pi5"


@dataclass(frozen=True)
class MadeRelease:
    """A release as the workstation makes it, with its key and plaintext for assertions."""

    manifest: Manifest
    files: dict[str, bytes]
    dek: bytes
    plaintext: bytes

    @property
    def folder(self) -> str:
        return f"models/{self.manifest.release_id}"

    @property
    def ref(self) -> ReleaseRef:
        """What a deploy command names: only path and digest."""
        digest = hashlib.sha256(self.files["manifest.json"]).hexdigest()
        return ReleaseRef(path=f"{self.folder}/manifest.json", sha256=digest)


def make_release(
    counter: int = 1,
    *,
    name: str = "shapes",
    device_class: str = DEVICE_CLASS,
    size: int = 150_000,
    replaced: Mapping[str, bytes] = MappingProxyType({}),
    **changes: Any,
) -> MadeRelease:
    """Seal a payload of `size` bytes that depends on the counter, and describe it in a manifest.

    `replaced` puts other sealed files in place of its own; `changes` are fields of the manifest.
    """
    version = f"1.{counter}"
    release_id = f"{device_class}/{name}/{version}"
    dek = hashlib.sha256(f"dek {release_id}".encode()).digest()
    plaintext = (f"model {release_id} ".encode() * (size // 10))[:size]
    golden_text = f"golden {release_id}".encode()
    sealed = {
        "onnx-fp32-320.sealed": seal(plaintext, dek, release_id, salt=_salt(b"payload", dek)),
        "golden.sealed": seal(golden_text, dek, release_id, salt=_salt(b"golden", dek)),
        **replaced,
    }
    fields: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "version": version,
        "device_class": device_class,
        "release_counter": counter,
        "min_agent": "0.1",
        "labels": ["circle", "square"],
        "variants": [_variant(sealed["onnx-fp32-320.sealed"])],
        "golden": GoldenSpec(payload=_sealed_file("golden.sealed", sealed["golden.sealed"])),
    }
    manifest = Manifest(**(fields | changes))
    files = {"manifest.json": to_json(manifest), **sealed}
    return MadeRelease(manifest, files, dek, plaintext)


def with_fallback(release: MadeRelease) -> MadeRelease:
    """Add a smaller variant, `onnx-fp32-160`, to a release."""
    name = "onnx-fp32-160.sealed"
    manifest = release.manifest
    sealed = seal(b"small " + release.plaintext[:9000], release.dek, manifest.release_id)
    small = msgspec.structs.replace(
        manifest.variants[0],
        id="onnx-fp32-160",
        input=InputSpec(width=160, height=160),
        payload=_sealed_file(name, sealed),
        accuracy=0.4,
    )
    manifest = msgspec.structs.replace(manifest, variants=[*manifest.variants, small])
    files = {**release.files, "manifest.json": to_json(manifest), name: sealed}
    return replace(release, manifest=manifest, files=files)


def _salt(purpose: bytes, dek: bytes) -> bytes:
    """A fixed salt, so that the same release is the same bytes."""
    return hashlib.sha256(purpose + dek).digest()


def _variant(payload: bytes) -> Variant:
    return Variant(
        id="onnx-fp32-320",
        backend=BackendName.ONNXRUNTIME,
        precision=Precision.FP32,
        family=FamilyName.YOLOX,
        input=InputSpec(width=320, height=320),
        payload=_sealed_file("onnx-fp32-320.sealed", payload),
        accuracy=0.5,
        memory_mb=100,
    )


def _sealed_file(name: str, data: bytes) -> SealedFile:
    return SealedFile(file=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def listed(path: str, data: bytes, block: int = BLOCK) -> TargetFile:
    """Describe `data` as TUF lists it, with the digests of its blocks."""
    blocks = [
        hashlib.sha256(data[at : at + block]).hexdigest() for at in range(0, len(data), block)
    ]
    custom = {"block_size": block, "block_sha256": blocks, "release": "ignored here"}
    digest = hashlib.sha256(data).hexdigest()
    return TargetFile(len(data), {"sha256": digest}, path, {"custom": custom})


@dataclass
class SignedRepository:
    """The repository; `files` is what is published, `asked` what was read."""

    classes: tuple[str, ...] = (DEVICE_CLASS, "jetson")
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    piece: int = PIECE

    def __post_init__(self) -> None:
        roles = ("root", "targets", "policy", *self.classes)
        self.signers = {role: [CryptoSigner.generate_ed25519() for _ in range(3)] for role in roles}
        self.signers |= {
            role: [CryptoSigner.generate_ed25519()] for role in ("snapshot", "timestamp")
        }
        self.root = Root(expires=in_days(365), consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            self._enlist(role)
        self.targets = Targets(expires=in_days(90), delegations=self._delegations())
        self.delegated = {name: Targets(expires=in_days(90)) for name in ("policy", *self.classes)}
        self.snapshot = Snapshot(expires=in_days(7))
        self.timestamp = Timestamp(expires=in_days(1))
        self.publish_root()
        self.root_bytes = self.files["metadata/1.root.json"]
        self.publish()

    # -- the source port --------------------------------------------------------------------------------

    def read(self, path: str, start: int) -> Iterator[bytes]:
        self.asked.append((path, start))
        if path not in self.files:
            raise TransferError(f"{path}: not there", code="transfer.not_found")
        data = self.files[path]
        for at in range(start, len(data), self.piece):
            yield data[at : at + self.piece]

    # -- editing ----------------------------------------------------------------------------------------

    def add(self, release: MadeRelease, role: str | None = None) -> MadeRelease:
        """List a release's files under its class's role (or another's, as an attack)."""
        for name, data in release.files.items():
            path = f"{release.folder}/{name}"
            self.enter(role or release.manifest.device_class, path, data)
        return release

    def enter(self, role: str, path: str, data: bytes, block: int = BLOCK) -> None:
        target = listed(path, data, block)
        self.delegated[role].targets[path] = target
        self.files[location(target)] = data

    def rotate(self, role: str) -> None:
        """Give a top-level role new keys; publish a root for it."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        old = self.signers[role]
        self.signers[role] = [CryptoSigner.generate_ed25519() for _ in old]
        self._enlist(role)
        self.root.version += 1
        self.publish_root(extra=old if role == "root" else [])

    # -- publishing -------------------------------------------------------------------------------------

    def publish_root(self, signers: list[CryptoSigner] | None = None, extra: Any = ()) -> None:
        data = signed(self.root, [*(signers or self.signers["root"]), *extra])
        self.files[f"metadata/{self.root.version}.root.json"] = data

    def publish(self) -> None:
        """Publish new versions of everything but the root."""
        documents = {"targets": self.targets, **self.delegated}
        for name, document in documents.items():
            document.version += 1
            self._put(name, document, self.signers[name])
            self.snapshot.meta[f"{name}.json"] = MetaFile(document.version)
        self.publish_snapshot()
        self.publish_timestamp()

    def publish_snapshot(self) -> None:
        self.snapshot.version += 1
        data = self._put("snapshot", self.snapshot, self.signers["snapshot"])
        hashes = {"sha256": hashlib.sha256(data).hexdigest()}
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version, len(data), hashes)

    def publish_timestamp(self) -> None:
        self.timestamp.version += 1
        data = signed(self.timestamp, self.signers["timestamp"])
        self.files["metadata/timestamp.json"] = data

    def _put(self, name: str, document: Any, signers: list[CryptoSigner]) -> bytes:
        data = signed(document, signers)
        self.files[f"metadata/{document.version}.{name}.json"] = data
        return data

    def _enlist(self, role: str) -> None:
        for signer in self.signers[role]:
            self.root.add_key(signer.public_key, role)
        self.root.roles[role].threshold = 2 if role in {"root", "targets"} else 1

    def _delegations(self) -> Delegations:
        patterns = {name: [f"models/{name}/*/*/*"] for name in self.classes}
        patterns["policy"] = ["policy/*"]
        keys: dict[str, Key] = {
            s.public_key.keyid: s.public_key for name in patterns for s in self.signers[name]
        }
        roles = {
            name: DelegatedRole(
                name,
                [signer.public_key.keyid for signer in self.signers[name]],
                threshold=2,
                terminating=True,
                paths=paths,
            )
            for name, paths in patterns.items()
        }
        return Delegations(keys, roles)


def signed(document: Any, signers: list[CryptoSigner]) -> bytes:
    """Sign with every signer; give a shorter list for an attack."""
    metadata = Metadata(document)
    for signer in signers:
        metadata.sign(signer, append=True)
    return bytes(metadata.to_bytes())


def location(target: TargetFile) -> str:
    folder, _, name = target.path.rpartition("/")
    return f"targets/{folder}/{target.hashes['sha256']}.{name}"


def in_days(days: float) -> datetime:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return now + timedelta(days=days)
