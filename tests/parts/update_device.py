"""A device's update room with real parts on any `Disk`; outside it a scripted model host and a signed fleet.

device = UpdateDevice(tmp_path, repository)
reply = device.deploy(repository.add(make_release(counter=1)))
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import CommandError, ModelError, VigilError
from agent.host.disk import REAL_DISK, Disk
from agent.host.memfd import read_memfd
from agent.models.opening import Opener
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.messages import Progress, UpdateReport
from agent.schema.profile import Choice, Verdict
from agent.trust.floor import Floor
from agent.trust.keys import FileKey
from agent.update.grants import KeyBroker
from agent.update.installer import Updater
from agent.update.journal import Journal
from agent.update.metered import Meter
from agent.update.ports import Health, Offer, Source
from agent.update.probation import ProbationLimits
from agent.update.staging import Stager
from agent.update.trust_client import TrustClient
from tests.parts.scripted_channels import KeyChannel
from tests.parts.signed_repository import MadeRelease, SignedRepository

if TYPE_CHECKING:
    from agent.release.repository import Repository
    from agent.schema.manifest import Manifest, ReleaseRef
    from agent.trust.hybrid import AnyDeviceKey
    from agent.update.bookkeeper import Observer
    from agent.update.record import UpdateRecord

GOOD = Health(frames=1000, errors=0, p95_ms=20.0, restarts=0, seconds=1000.0)


@cache
def device_key() -> FileKey:
    return FileKey(ec.generate_private_key(ec.SECP256R1()))


@dataclass
class ScriptedHost:
    """A model host without models: says what the script says and remembers what it was told.

    Attributes:
        trial_fault: Raised by the next trial.
        swap_fault: Raised by the next swap.
        healths: Given one by one; the last one stays.
    """

    serving: str | None = None
    candidate: str | None = None
    trial_fault: ModelError | None = None
    swap_fault: ModelError | None = None
    healths: deque[Health] = field(default_factory=lambda: deque([GOOD]))
    told: list[str] = field(default_factory=list)

    def trial(self, release: InstalledRelease) -> None:
        self.told.append(f"trial {release.ref.version}")
        if self.trial_fault:
            raise self.trial_fault
        self.candidate = release.ref.version

    def swap(self) -> float:
        self.told.append("swap")
        if self.swap_fault:
            raise self.swap_fault
        self.serving, self.candidate = self.candidate, None
        return 12.5

    def discard(self) -> None:
        self.told.append("discard")
        self.candidate = None

    def serve(self, release: InstalledRelease | None) -> None:
        self.serving = release.ref.version if release else None
        self.told.append(f"serve {self.serving}")

    def health(self) -> Health:
        return self.healths.popleft() if len(self.healths) > 1 else self.healths[0]


@dataclass
class RecordedReplier:
    """Remembers what it was told; `error` and `data` are how it ended."""

    steps: list[str] = field(default_factory=list)
    error: VigilError | None = None
    data: dict[str, Any] | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def accepted(self) -> None:
        self.steps.append("accepted")

    def running(self, message: str) -> None:
        self.steps.append(message)

    def succeeded(self, **data: Any) -> None:
        self.data = data
        self.done.set()

    def failed(self, error: VigilError) -> None:
        self.error = error
        self.done.set()

    @property
    def code(self) -> str:
        """How it ended: `committed`, or the error's code."""
        return self.error.code if self.error else str((self.data or {}).get("outcome"))


def signed_roads(repository: SignedRepository | Repository) -> list[Source]:
    return [repository] if isinstance(repository, SignedRepository) else []


def choice_of(manifest: Manifest, variant: str | None) -> Choice:
    """Choose `variant`; every other one fits, too, and takes milliseconds by its pixels."""
    verdicts = [
        Verdict(
            variant=one.id,
            accepted=one.id == variant,
            reason="",
            expected_ms=one.input.width * one.input.height / 2000,
            fits=True,
        )
        for one in manifest.variants
    ]
    return Choice(profile="test", variant=variant, verdicts=verdicts)


class UpdateDevice:
    """One life of a device; make another on the same folder for the next life."""

    def __init__(
        self,
        folder: Path,
        repository: SignedRepository | Repository,
        disk: Disk = REAL_DISK,
        *,
        sources: list[Source] | None = None,
        agent_version: str = "0.1.0",
        variant: str | None = "onnx-fp32-320",
        limits: ProbationLimits | None = None,
        fallback_variants: int = 0,
        meter: Meter | None = None,
        now_s: Callable[[], float] = time.time,
        key: AnyDeviceKey | None = None,
    ) -> None:
        self.disk = disk
        self.host = ScriptedHost()
        self.seen: list[UpdateRecord] = []
        self.progress: list[Progress] = []
        self.watch: Observer = lambda _record, _progress: None
        self.key_channel = KeyChannel(device_key().public_bytes)
        disk.make_dirs(folder / "journal")
        (folder / "metadata").mkdir(exist_ok=True)
        self.store = ModelStore(folder / "models", disk)
        self.floor = Floor(folder / "journal" / "floor", disk)
        self.opener = Opener(key or device_key(), "cam-1", "pi5")
        self.trust = TrustClient(
            folder / "metadata", repository.root_bytes, self.floor, "pi5", now_s
        )
        self.stager = Stager(
            trust=self.trust,
            sources=sources or signed_roads(repository),
            store=self.store,
            opener=self.opener,
            keys=KeyBroker(self.key_channel, clock=self.key_channel.clock),
            floor=self.floor,
            choose=lambda manifest: choice_of(manifest, variant),
            device_class="pi5",
            agent_version=agent_version,
            disk=disk,
            fallback_variants=fallback_variants,
            meter=meter,
        )
        self.journal = Journal(folder / "journal", disk)
        self._limits = limits or ProbationLimits(max_p95_ms=200.0)
        self.updater = Updater(
            self.journal, self.stager, self.host, self._limits_of, self._observe, poll_s=0.001
        )

    def _limits_of(self, _manifest: Manifest) -> ProbationLimits:
        return self._limits

    def _observe(self, record: UpdateRecord, progress: Progress | None) -> None:
        self.watch(record, progress)
        if progress:
            self.progress.append(progress)
        else:
            self.seen.append(record)

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> str | None:
        """Resume, serve what is to be served, and finish whatever was going on.

        Returns:
            The version that was served first.
        """
        release = self.updater.resume()
        if release:
            self.host.serve(release)
        self.updater.work()
        return release.ref.version if release else None

    def deploy(
        self, release: MadeRelease, *, force: bool = False, below_floor: bool = False
    ) -> RecordedReplier:
        """Deploy a release to its end."""
        self.key_channel.deks[release.manifest.release_id] = release.dek
        replier = RecordedReplier()
        try:
            self.updater.submit(Offer(release.ref, "command-1", force, below_floor), replier)
        except CommandError as error:
            replier.failed(error)
            return replier
        self.updater.work()
        return replier

    def plaintext(self, ref: ReleaseRef | None) -> bytes | None:
        """Open a release as the supervisor would and return its weights."""
        if ref is None:
            return None
        fd = self.opener.payload(self.store.load(ref))
        try:
            with read_memfd(fd) as view:
                return bytes(view)
        finally:
            os.close(fd)

    @property
    def current(self) -> ReleaseRef:
        """The current release; there is one."""
        current = self.updater.record.current
        assert current is not None
        return current

    @property
    def last(self) -> UpdateReport:
        """How the last update ended; there was one."""
        last = self.updater.record.last
        assert last is not None
        return last

    @property
    def phases(self) -> list[str]:
        return [record.phase.value for record in self.seen]
