"""Manifests, and releases that lie complete on a disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.models.store import InstalledRelease, ModelStore
from agent.schema.document import to_json
from agent.schema.manifest import (
    GoldenSpec,
    InputSpec,
    Manifest,
    ReleaseRef,
    SealedFile,
    Variant,
)
from agent.schema.values import BackendName, FamilyName, Precision
from agent.trust.grant import wrap
from agent.trust.hybrid import AnyDeviceKey
from agent.trust.sealed import seal

if TYPE_CHECKING:
    from pathlib import Path

DEVICE, DEVICE_CLASS = "cam-1", "shop"
NOTHING = SealedFile(file="nothing.sealed", size=1, sha256="0" * 64)


def variant(
    size: int = 320,
    backend: str = "onnxruntime",
    precision: str = "fp32",
    payload: SealedFile = NOTHING,
    **changes: Any,
) -> Variant:
    """A variant with id `<backend>-<precision>-<size>`."""
    facts: dict[str, Any] = {
        "id": f"{backend}-{precision}-{size}",
        "backend": BackendName(backend),
        "precision": Precision(precision),
        "family": FamilyName.ULTRALYTICS,
        "input": InputSpec(width=size, height=size),
        "payload": payload,
        "accuracy": 0.4,
        "memory_mb": 150,
    }
    return Variant(**{**facts, **changes})


def manifest(*variants: Variant, golden: SealedFile = NOTHING, **changes: Any) -> Manifest:
    """A manifest of `shop/yolo/1.2` with these variants."""
    facts: dict[str, Any] = {
        "schema": 1,
        "name": "yolo",
        "version": "1.2",
        "device_class": DEVICE_CLASS,
        "release_counter": 12,
        "min_agent": "0.1",
        "labels": ["person"],
        "variants": list(variants),
        "golden": GoldenSpec(payload=golden),
    }
    return Manifest(**{**facts, **changes})


@dataclass(frozen=True)
class Delivery:
    """A sealed release as it arrives: manifest, sealed files by digest, grant."""

    ref: ReleaseRef
    manifest_bytes: bytes
    files: dict[str, bytes]
    grant: bytes

    def install(
        self, store: ModelStore, variant_id: str = "onnxruntime-fp32-320"
    ) -> InstalledRelease:
        """Put the files in place and install the release."""
        for digest, content in self.files.items():
            store.blob_path(digest).write_bytes(content)
        return store.install(self.ref, self.manifest_bytes, variant_id, self.grant)


def delivery(key: AnyDeviceKey, weights: bytes = b"weights", version: str = "1.2") -> Delivery:
    """Seal `weights` and a golden set for `cam-1`."""
    dek, release_id = hashlib.sha256(version.encode()).digest(), f"{DEVICE_CLASS}/yolo/{version}"
    payload, golden = (seal(content, dek, release_id) for content in (weights, b"golden"))
    made = manifest(
        variant(payload=_sealed_file("320.sealed", payload)),
        golden=_sealed_file("golden.sealed", golden),
        version=version,
    )
    data = to_json(made)
    path = f"models/{release_id}/manifest.json"
    ref = ReleaseRef(path=path, sha256=_digest(data))
    grant = wrap(dek, key.public_bytes, release_id, DEVICE_CLASS, DEVICE)
    return Delivery(ref, data, {_digest(payload): payload, _digest(golden): golden}, grant)


def installed(root: Path, key: AnyDeviceKey, weights: bytes = b"weights") -> InstalledRelease:
    """Install a release in a new store under `root`."""
    return delivery(key, weights).install(ModelStore(root))


def _sealed_file(name: str, content: bytes) -> SealedFile:
    return SealedFile(file=name, size=len(content), sha256=_digest(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
