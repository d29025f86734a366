"""From models and measurements to a release folder: a manifest and sealed files, ready to be signed.

All files of a release are sealed with one key (DEK), each with a salt derived from key, name and content: the same draft and key
give the same bytes, so a second person can make a release again and compare. The folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec.structs import replace

from agent.errors import ConfigError, PackageError, StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.release.attest import Making, Part, provenance, sbom
from agent.release.attest_format import PROVENANCE_FILE, SBOM_FILE
from agent.release.golden import encode_golden
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.drift import DriftBaseline
from agent.schema.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MANIFEST_SCHEMA,
    GoldenSet,
    GoldenSpec,
    InputSpec,
    Manifest,
    ProbationSpec,
    SealedFile,
    Variant,
)
from agent.schema.values import BackendName, FamilyName, Precision, TaskName
from agent.trust.sealed import Cipher, seal

DEK_BYTES = 32
SALT_BYTES = 32
_MODEL_LIMIT = 1 << 30
_KEY_LIMIT = 1 << 16
UNSEALED = SealedFile(file="", size=1, sha256="0" * 64)
UNLIMITED = GoldenSpec(payload=UNSEALED)
DEVICE_DEFAULTS = ProbationSpec()
NO_BASELINE = DriftBaseline()

_SALT_PURPOSE = b"vigil sealed file salt 1"


@dataclass(frozen=True)
class VariantDraft:
    """One variant before sealing: a `Variant` whose payload is still the plain file at `model`."""

    id: str
    model: Path
    backend: BackendName
    precision: Precision
    family: FamilyName
    input: InputSpec
    accuracy: float
    memory_mb: int
    box_units: str = "pixels"
    latency_ms: dict[str, float] = field(default_factory=dict)
    needs: dict[str, bool] = field(default_factory=dict)
    task: TaskName = TaskName.DETECT
    keypoints: tuple[int, int] | None = None
    class_scores: str = "probabilities"


@dataclass(frozen=True)
class ReleaseDraft:
    """A release before sealing.

    Attributes:
        counter: Rises with every release of the class; devices refuse to go below it.
        golden: Golden set with boxes for every variant.
        cipher: How its files are sealed.
        limits: When a trial on the golden set passes; its payload is filled in here.
        materials: SHA-256 of what the models were made from and judged on, by name.
    """

    name: str
    version: str
    device_class: str
    counter: int
    labels: list[str]
    variants: list[VariantDraft]
    golden: GoldenSet
    min_agent: str = "0"
    cipher: Cipher = Cipher.AES_256_GCM
    limits: GoldenSpec = UNLIMITED
    probation: ProbationSpec = DEVICE_DEFAULTS
    drift_baseline: DriftBaseline = NO_BASELINE
    provenance: dict[str, str] = field(default_factory=dict)
    materials: dict[str, str] = field(default_factory=dict)

    @property
    def release_id(self) -> str:
        """Return `<class>/<name>/<version>`."""
        return f"{self.device_class}/{self.name}/{self.version}"


def salt_of(dek: bytes, release_id: str, file: str, plaintext: bytes) -> bytes:
    """Return a file's salt, 32 bytes: HKDF-SHA256 (RFC 5869) of the key, the release, the file's name and its content.

    Two files that differ in any of these have different salts, as drawn ones would; that two releases of one key hold the same
    file under the same name would show, which the signed manifest does not hide either.
    """
    about = [_SALT_PURPOSE, release_id.encode(), file.encode(), hashlib.sha256(plaintext).digest()]
    info = b"".join(len(part).to_bytes(4, "big") + part for part in about)
    return HKDF(hashes.SHA256(), SALT_BYTES, salt=None, info=info).derive(dek)


def build_release(
    folder: Path,
    draft: ReleaseDraft,
    dek: bytes,
    disk: Disk = REAL_DISK,
) -> Path:
    """Seal `draft` into the new folder `folder` and return the path of its manifest.

    Args:
        folder: Does not exist yet; its parent is created.
        draft: What to release.
        dek: The release's key, 32 random bytes.
        disk: Where to write.

    Raises:
        PackageError: The draft contradicts itself or a value does not fit the manifest.
        StorageError: A model cannot be read or the folder cannot be written.
    """
    if disk.exists(folder):
        raise PackageError(f"{folder}: a release is there already", hint="choose a new folder")
    _check(draft)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    disk.make_dirs(partial)
    try:
        disk.write_atomic(partial / MANIFEST_FILE, _seal_all(partial, draft, dek, disk))
        disk.rename(partial, folder)
    except (PackageError, StorageError):
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder / MANIFEST_FILE


def _seal_all(folder: Path, draft: ReleaseDraft, dek: bytes, disk: Disk) -> bytes:
    """Write the sealed files and the documents into `folder` and return the manifest that names them."""

    def sealed(file: str, plaintext: bytes) -> tuple[SealedFile, str]:
        salt = salt_of(dek, draft.release_id, file, plaintext)
        blob = seal(plaintext, dek, draft.release_id, draft.cipher, salt)
        return _written(folder / file, blob, disk), hashlib.sha256(plaintext).hexdigest()

    variants, parts = [], []
    for one in draft.variants:
        payload, plain = sealed(f"{one.id}.sealed", disk.read(one.model, _MODEL_LIMIT))
        variants.append(_variant(one, payload))
        runs_on = f"{one.backend.value} {one.precision.value}"
        parts.append(Part(one.id, plain, payload, one.task.value, one.accuracy, runs_on))
    golden, plain = sealed(GOLDEN_FILE, encode_golden(draft.golden))
    parts.append(Part("golden", plain, golden))
    making = Making(draft.release_id, draft.counter, parts, draft.materials)
    documents = [
        _written(folder / file, data, disk)
        for file, data in ((SBOM_FILE, sbom(making)), (PROVENANCE_FILE, provenance(making)))
    ]
    return _manifest_bytes(draft, variants, golden, documents)


def _written(path: Path, data: bytes, disk: Disk) -> SealedFile:
    disk.write_atomic(path, data)
    return SealedFile(file=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _variant(part: VariantDraft, payload: SealedFile) -> Variant:
    return Variant(
        id=part.id,
        backend=part.backend,
        precision=part.precision,
        family=part.family,
        input=part.input,
        payload=payload,
        accuracy=part.accuracy,
        memory_mb=part.memory_mb,
        box_units=part.box_units,
        latency_ms=part.latency_ms,
        needs=part.needs,
        task=part.task,
        keypoints=part.keypoints,
        class_scores=part.class_scores,
    )


def _manifest_bytes(
    draft: ReleaseDraft, variants: list[Variant], golden: SealedFile, documents: list[SealedFile]
) -> bytes:
    data = to_json(
        Manifest(
            schema=MANIFEST_SCHEMA,
            name=draft.name,
            version=draft.version,
            device_class=draft.device_class,
            release_counter=draft.counter,
            min_agent=draft.min_agent,
            labels=draft.labels,
            variants=variants,
            golden=replace(draft.limits, payload=golden),
            probation=draft.probation,
            drift_baseline=draft.drift_baseline,
            provenance=draft.provenance,
            documents=documents,
        )
    )
    try:
        # Constructing a struct checks nothing; reading it back applies every rule a device applies.
        parse_json(data, Manifest)
    except Malformed as error:
        raise PackageError(f"manifest of {draft.release_id}: {error}") from error
    return data


def _check(draft: ReleaseDraft) -> None:
    """Refuse what a device would refuse, before anything is sealed."""
    counts = Counter(part.id for part in draft.variants)
    repeated = [name for name, count in counts.items() if count > 1]
    faults = {
        "variants: expected at least one, found none": not counts,
        f"variants: expected unique ids, found {repeated} twice": bool(repeated),
        "labels: expected at least one, found none": not draft.labels,
        "golden: expected at least one frame, found none": not draft.golden.frames,
    }
    for index, frame in enumerate(draft.golden.frames):
        unknown = {b[0] for boxes in frame.expected.values() for b in boxes}
        unknown -= set(range(len(draft.labels)))
        missing = sorted(set(counts) - set(frame.expected))
        faults[f"golden frame {index}: expected boxes for {missing}, found none"] = bool(missing)
        faults[f"golden frame {index}: labels {sorted(unknown)} have no name"] = bool(unknown)
    for problem, found in faults.items():
        if found:
            raise PackageError(f"release {draft.release_id}: {problem}")


def read_key(path: Path, disk: Disk = REAL_DISK) -> bytes:
    """Read a release's key, 32 bytes.

    Raises:
        ConfigError: The file holds no key.
        StorageError: It cannot be read.
    """
    dek = disk.read(path, _KEY_LIMIT)
    if len(dek) != DEK_BYTES:
        message = f"{path}: expected a release's key, {DEK_BYTES} bytes, found {len(dek)}"
        raise ConfigError(message, hint="take the file of `vigil release build --key-out`")
    return dek
