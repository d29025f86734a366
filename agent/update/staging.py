"""From a release's name to its authentic files on disk: check, choose, fetch, open once."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from agent.errors import PackageError, StorageError, TransferError, TrustError
from agent.host.disk import REAL_DISK, Disk
from agent.models.fallbacks import fallbacks
from agent.models.opening import Opener
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.document import trusted_json
from agent.schema.manifest import Manifest, ReleaseRef, SealedFile, Variant
from agent.schema.messages import Policy, Progress
from agent.schema.profile import Choice
from agent.trust.floor import Floor
from agent.update.admission import Facts, admit
from agent.update.fetch import fetch_file, fetch_small
from agent.update.grants import KeyBroker
from agent.update.metered import Meter, MeteredSource, Road
from agent.update.ports import Source
from agent.update.sources.failover import FailoverSource
from agent.update.trust_client import TrustClient, Trusted

logger = logging.getLogger(__name__)
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_POLICY_BYTES = 256 * 1024


@dataclass(frozen=True)
class Staged:
    """A release whose files are on disk: its complete reference, manifest as signed, chosen variant.

    `fallbacks` are on disk too; `missing` says why others are not.
    """

    ref: ReleaseRef
    manifest_bytes: bytes
    manifest: Manifest
    variant: Variant
    fallbacks: tuple[Variant, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stager:
    """Brings releases to the store.

    Attributes:
        trust: Says what may be fetched.
        sources: Roads, best first; every release begins with the best.
        store: Where files go.
        opener: Authenticates sealed files; nothing of the plaintext is kept.
        keys: Asks for grants.
        floor: Least release counter.
        choose: Picks the variant for this board.
        device_class: Class of this device.
        agent_version: Version of this agent.
        disk: Disk under the store.
        deadline_s: Longest time one file may take, seconds.
        fallback_variants: How many cheaper variants are fetched beside the chosen one.
        meter: Counts bytes and says when to wait; None for a link without limits.
    """

    trust: TrustClient
    sources: Sequence[Source]
    store: ModelStore
    opener: Opener
    keys: KeyBroker
    floor: Floor
    choose: Callable[[Manifest], Choice]
    device_class: str
    agent_version: str
    disk: Disk = REAL_DISK
    deadline_s: float = 3600.0
    fallback_variants: int = 0
    meter: Meter | None = None

    def fetch(
        self,
        ref: ReleaseRef,
        progress: Callable[[Progress], None],
        *,
        below_floor: bool = False,
        returning: bool = False,
    ) -> Staged:
        """Fetch the chosen variant of `ref` and its golden set, then fallbacks as far as they come.

        A release that is `returning` was committed here and gets the variant that it had: what was measured
        since (in a trial on a busy board, say) must not shut the way back.

        Raises:
            TrustError: Not signed for this device, or older than the floor and not allowed to be.
            PackageError: It does not suit this device.
            TransferError: The road is bad.
            StorageError: The disk is full or failing.
        """
        source = FailoverSource(self.sources, self.deadline_s)
        counted = self._counted(source)
        trusted = self.trust.check(counted)
        data = fetch_small(counted, trusted.release(ref), MAX_MANIFEST_BYTES)
        manifest = trusted_json(data, Manifest, ref.path)
        facts = Facts(
            self.device_class, 0 if below_floor else self.floor.counter, self.agent_version
        )
        ref = admit(manifest, ref, facts)
        choice = self.choose(manifest)
        if returning:
            choice = self._as_before(ref, choice)
        variant = _chosen(manifest, choice)
        for file in (variant.payload, manifest.golden.payload):
            self._fetch_sealed(source, trusted, ref, file, progress)
        staged = Staged(ref, data, manifest, variant)
        for fallback in fallbacks(manifest, choice, self.fallback_variants):
            staged = self._with_fallback(staged, fallback, source, trusted, progress)
        return staged

    def open(self, staged: Staged) -> InstalledRelease:
        """Get the key, install, and authenticate every sealed chunk once; plaintext stays in memory.

        Raises:
            TrustError: A chunk, the key or the grant is not authentic.
            KeyUnavailableError: The device key cannot be used now.
            TransferError: The key service does not answer.
            StorageError: The disk is full or failing.
        """
        grant = self.keys.grant(staged.manifest.release_id)
        others = [variant.id for variant in staged.fallbacks]
        release = self.store.install(
            staged.ref, staged.manifest_bytes, staged.variant.id, grant, others
        )
        for open_file in (self.opener.payload, self.opener.golden):
            os.close(open_file(release))
        return release

    def policy(self) -> tuple[bytes, Policy]:
        """Return the newest signed command policy, as signed and decoded.

        Raises:
            TrustError: Not authentic.
            TransferError: The road is bad.
        """
        source = self._counted(FailoverSource(self.sources, self.deadline_s))
        target = self.trust.check(source).policy()
        data = fetch_small(source, target, MAX_POLICY_BYTES)
        return data, trusted_json(data, Policy, target.path)

    def _as_before(self, ref: ReleaseRef, choice: Choice) -> Choice:
        try:
            variant = self.store.load(ref).variant.id
        except PackageError:
            return choice
        return msgspec.structs.replace(choice, variant=variant)

    def _with_fallback(
        self,
        staged: Staged,
        fallback: Variant,
        source: FailoverSource,
        trusted: Trusted,
        progress: Callable[[Progress], None],
    ) -> Staged:
        """Fetch a fallback; without it the release is as good, so no fault of it ends the update."""
        try:
            self._fetch_sealed(source, trusted, staged.ref, fallback.payload, progress)
        except (TransferError, TrustError, StorageError) as error:
            logger.warning("fallback %s is not here: %s", fallback.id, error)
            self._forget_part(fallback.payload)
            return replace(staged, missing=(*staged.missing, f"{fallback.id}: {error}"))
        return replace(staged, fallbacks=(*staged.fallbacks, fallback))

    def _forget_part(self, file: SealedFile) -> None:
        # Its space may be what the release itself needs to be installed.
        with contextlib.suppress(StorageError):
            part = self.store.part_path(file.sha256)
            if self.disk.exists(part):
                self.disk.remove(part)

    def _fetch_sealed(
        self,
        source: FailoverSource,
        trusted: Trusted,
        ref: ReleaseRef,
        file: SealedFile,
        progress: Callable[[Progress], None],
    ) -> None:
        folder = ref.path.rpartition("/")[0]
        target = trusted.file(f"{folder}/{file.file}", file.sha256)
        part, blob = self.store.part_path(file.sha256), self.store.blob_path(file.sha256)

        def waiting(position: int, reason: str) -> None:
            progress(Progress(file=target.path, done=position, total=target.length, waiting=reason))

        fetch_file(self._counted(source, waiting), target, part, blob, self.disk, progress)

    def _counted(
        self, source: FailoverSource, on_wait: Callable[[int, str], None] | None = None
    ) -> Road:
        return MeteredSource(source, self.meter, on_wait) if self.meter else source


def _chosen(manifest: Manifest, choice: Choice) -> Variant:
    for variant in manifest.variants:
        if variant.id == choice.variant:
            return variant
    reasons = "; ".join(f"{verdict.variant}: {verdict.reason}" for verdict in choice.verdicts)
    message = f"{manifest.release_id}: no variant suits this board ({reasons or 'none offered'})"
    raise PackageError(message, code="package.no_variant")
