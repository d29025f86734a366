"""The installed release: there, whole, signed, openable by this device's key, and seeing what its makers saw."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from agent.doctor.findings import from_error, good, problem, unseen, warning
from agent.doctor.patient import Patient
from agent.errors import VigilError
from agent.host.board import read_facts
from agent.host.clock import boot_id
from agent.host.hardware import memory_mb
from agent.host.reading import text
from agent.models.opening import Opener, opener_of
from agent.models.profiles import load_profiles, named, recognise
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.doctor import Finding
from agent.supervisor.conversation import Conversation
from agent.supervisor.settings import WorkerSettings
from agent.supervisor.worker_process import WorkerProcess
from agent.update.journal import Journal

_BLIND = "nothing is detected until a release is here"
_AGAIN = (
    "deploy it again: vigil fleet deploy CONTROLLER d/DEVICE CLASS/NAME/VERSION --as YOU --key KEY"
)
_SPARE_MB = 200
_LOAD_S, _GOLDEN_S = 60.0, 60.0


def look_at_model(patient: Patient) -> Iterator[Finding]:
    """Go from the journal to the golden set; the first thing that fails ends it."""
    folder = patient.folder
    if not (folder / "models" / "releases").is_dir():
        yield _nothing(folder)
        return
    try:
        ref = Journal(folder).read().current
        if ref is None:
            yield _nothing(folder)
            return
        release = ModelStore(folder / "models").load(ref)
        label = f"{ref.label}, variant {release.variant.id}"
        yield good("model.files", f"{label}: all files are as they were signed")
        yield _signature(folder / "tuf", release)
        opener = opener_of(patient.config)
        for open_file in (opener.payload, opener.golden):
            os.close(open_file(release))
        yield good(
            "model.sealed", f"{label}: authentic to the last byte, opened by this device's key"
        )
    except VigilError as error:
        yield from_error("model", error, _BLIND, _AGAIN)
        return
    yield from _parity(patient, release, opener)


def _nothing(folder: Path) -> Finding:
    if not os.access(folder, os.R_OK | os.X_OK) and folder.exists():
        return unseen("model", f"{folder} may not be read", "sudo -u vigil vigil doctor")
    return problem("model", "model.none", "no release is installed", _BLIND, _AGAIN)


def _signature(folder: Path, release: InstalledRelease) -> Finding:
    """Hold the manifest's digest against the metadata this device has verified and kept."""
    path, role = release.ref.path, release.manifest.device_class
    try:
        root = Metadata[Root].from_file(str(folder / "root.json"))
        targets = Metadata[Targets].from_file(str(folder / "targets.json"))
        own = Metadata[Targets].from_file(str(folder / f"{role}.json"))
        root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
        targets.signed.verify_delegate(role, own.signed_bytes, own.signatures)
    except (OSError, DeserializationError):
        return unseen("model.signature", f"{folder}: no metadata of class {role} is kept")
    except (RepositoryError, ValueError) as error:
        why = "somebody changed it on this disk; a fresh copy is fetched with the next update"
        fix = f"sudo rm -r {folder} && sudo systemctl restart vigil"
        return problem("model.signature", "model.signature", f"{folder}: {error}", why, fix)
    listed = own.signed.targets.get(path)
    if listed is None or listed.hashes.get("sha256") != release.ref.sha256:
        what = f"{release.ref.label} is no longer listed by its signers"
        why = "it was withdrawn, or replaced; it runs on, and could not be installed again"
        return warning("model.signature", "model.unlisted", what, why, _AGAIN)
    count = len(own.signatures)
    return good("model.signature", f"listed in metadata of {role} with {count} valid signatures")


def _parity(patient: Patient, release: InstalledRelease, opener: Opener) -> Iterator[Finding]:
    free_mb = memory_mb(text(patient.root / "proc/meminfo"), "MemAvailable")
    if patient.status is not None and 0 < free_mb < release.variant.memory_mb + _SPARE_MB:
        what = f"{free_mb} MB of memory are free, too little for a second model beside the agent's"
        yield unseen("model.golden", what, "sudo systemctl stop vigil && vigil doctor")
        return
    try:
        yield _prove(patient, release, opener)
    except VigilError as error:
        why = "the model sees something else here than where it was made: detections are wrong or missing"
        fix = "runtime or driver changed since? Undo that, or deploy another release; see `software` above"
        yield from_error("model.golden", error, why, fix)


def _prove(patient: Patient, release: InstalledRelease, opener: Opener) -> Finding:
    figures: list[str] = []
    conversation = Conversation(
        _settings(patient),
        opener.payload,
        opener.golden,
        on_measured=lambda _release, result: figures.append(
            f"{result.frames} golden frames: recall {result.recall:.2f}, precision"
            f" {result.precision:.2f}, p95 {result.p95_ms:.1f} ms"
        ),
    )
    limit_mb = patient.config.update.worker_memory_mb
    worker = WorkerProcess(limit_mb, lambda *_: None, lambda _: None)
    try:
        conversation.load(worker, release, _LOAD_S)
        conversation.run_golden(worker, release)
    finally:
        worker.stop()
    return good("model.golden", "".join(figures))


def _settings(patient: Patient) -> WorkerSettings:
    config, facts = patient.config, read_facts()
    profiles, wanted = load_profiles(), config.profile
    profile = recognise(facts, profiles) if wanted == "auto" else named(wanted, profiles)
    return WorkerSettings(
        device=config.device.id,
        boot=boot_id(),
        cameras=[],
        detect=config.detect,
        default_fps=profile.camera.fps,
        threads=min(profile.runtime.threads, facts.cores),
        streams=profile.runtime.streams,
        memory_mb=config.update.worker_memory_mb,
        providers=profile.runtime.providers,
        delegates=profile.runtime.delegates,
        trial_timeout_s=_GOLDEN_S,
    )
