"""What the repository's signers say: python-tuf decides, our own floor and lint stand beside it.

Rules
- One python-tuf `Updater` per check: it reads the clock when made and refreshes once. One check at a time, whoever asks (updates,
  the policy, a shadow run, the agent's own update): they share the metadata folder.
- The root this device was provisioned with starts every check; the metadata folder is a cache that may be
  lost or torn by a power cut without harm, because what must not go back is in the floor, which is synced.
- Every failure is a `TrustError` with a stable code, a `TransferError` or a `StorageError`.

What python-tuf 7 leaves to us (UPDATE_NOTES 9): a rollback after its cache was emptied, and one public key
under two key ids.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

from tuf.api import exceptions as tuf
from tuf.api.metadata import DelegatedRole, Metadata, Root, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from agent.errors import StorageError, TransferError, TrustError, VigilError
from agent.schema.manifest import ReleaseRef
from agent.trust.floor import Floor
from agent.trust.metadata import refuse_repeated_keys
from agent.update.ports import Source
from agent.update.targets import Target, checked_path, target_from

POLICY_PATH = "policy/commands.json"
_SCHEME = "repository:///"
_CODES: tuple[tuple[type[Exception], str], ...] = (  # first match wins: subclasses first
    (tuf.UnsignedMetadataError, "trust.unsigned"),
    (tuf.BadVersionNumberError, "trust.rollback"),
    (tuf.ExpiredMetadataError, "trust.expired"),
    (tuf.LengthOrHashMismatchError, "trust.mix_and_match"),
    (tuf.DownloadLengthMismatchError, "trust.too_long"),
    (tuf.RepositoryError, "trust.metadata"),
)


class TrustClient:
    """Checks the repository.

    Args:
        folder: Cache of verified metadata; made by the caller.
        bootstrap: Root metadata this device was provisioned with.
        floor: What must not go back.
        device_class: Only targets under `models/<device_class>/` are found.
        now_s: Unix seconds; the floor's time holds where this clock is behind.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: bytes,
        floor: Floor,
        device_class: str,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._bootstrap = bootstrap
        self._floor = floor
        self._class = device_class
        self._now_s = now_s
        self._checking = threading.Lock()

    def check(self, source: Source) -> Trusted:
        """Fetch and verify the newest metadata over `source`.

        Raises:
            TrustError: `trust.unsigned`, `trust.rollback`, `trust.expired`, `trust.mix_and_match`,
                `trust.too_long`, `trust.repeated_key` or `trust.metadata`.
            TransferError: The road is bad.
            StorageError: The cache cannot be written.
        """
        with self._checking, _translated("repository metadata"):
            updater = Updater(
                str(self._folder),
                f"{_SCHEME}metadata/",
                fetcher=_Fetcher(source),
                bootstrap=self._bootstrap,
            )
            updater.refresh()
            rank = self._check_timestamp(self._lint_roots())
        self._floor.raise_to(timestamp_version=rank)
        return Trusted(updater, self._folder, self._class)

    def _lint_roots(self) -> int:
        """Refuse roots that list one key twice, those that the chain only passed through included.

        Returns:
            The version of the newest root.
        """
        first = Metadata[Root].from_bytes(self._bootstrap).signed.version
        newest = Metadata[Root].from_bytes((self._folder / "root.json").read_bytes()).signed.version
        for version in range(first, newest + 1):
            path = self._folder / "root_history" / f"{version}.root.json"
            refuse_repeated_keys(Metadata[Root].from_bytes(path.read_bytes()).signed)
        return newest

    def _check_timestamp(self, root_version: int) -> int:
        """Hold the verified timestamp against the floor; return its rank."""
        timestamp = Metadata[Timestamp].from_bytes((self._folder / "timestamp.json").read_bytes())
        rank = timestamp_rank(root_version, timestamp.signed.version)
        if rank < self._floor.timestamp_version:
            message = "repository metadata: older than what this device has seen before"
            raise TrustError(message, code="trust.rollback")
        now_s = max(self._now_s(), self._floor.time_s)
        if timestamp.signed.is_expired(datetime.fromtimestamp(now_s, timezone.utc)):
            message = f"repository metadata: timestamp expired {timestamp.signed.expires:%Y-%m-%d}"
            raise TrustError(message, code="trust.expired")
        return rank


def timestamp_rank(root_version: int, timestamp_version: int) -> int:
    """Return a number that must never fall: the root's version first, then the timestamp's.

    A new root lets timestamp versions begin anew, which is how a repository recovers from a stolen online key
    that fast-forwarded them.
    """
    return (root_version << 32) + min(timestamp_version, 2**32 - 1)


class Trusted:
    """The repository as one check found it."""

    def __init__(self, updater: Updater, folder: Path, device_class: str) -> None:
        self._updater = updater
        self._folder = folder
        self._class = device_class

    def release(self, ref: ReleaseRef) -> Target:
        """Return the manifest's target of exactly the release asked for.

        Raises:
            TrustError: Another class's path (`trust.wrong_class`), not listed (`trust.unlisted`), or listed
                with another digest (`trust.other_digest`).
            TransferError: A delegated role could not be fetched.
        """
        return self.file(ref.path, ref.sha256)

    def file(self, path: str, sha256: str) -> Target:
        """Return the target at `path` of this device's class with exactly this digest; raises as `release`."""
        if not checked_path(path).startswith(f"models/{self._class}/"):
            message = f"{path}: not a path of this device's class {self._class}"
            raise TrustError(message, code="trust.wrong_class")
        return self._exactly(path, sha256)

    def _exactly(self, path: str, sha256: str) -> Target:
        target = self._listed(path)
        if target.sha256 != sha256:
            message = f"{path}: asked for {sha256[:12]}, the repository lists {target.sha256[:12]}"
            raise TrustError(message, code="trust.other_digest")
        return target

    def agent_file(self, path: str, sha256: str) -> Target:
        """Return the target at `path` of the agent's own releases with this digest; raises as `release`."""
        if not checked_path(path).startswith("agent/"):
            raise TrustError(
                f"{path}: not a path of the agent's releases", code="trust.wrong_class"
            )
        return self._exactly(path, sha256)

    def policy(self) -> Target:
        """Return the target of the command policy; raises as `release`."""
        return self._listed(POLICY_PATH)

    def listed(self, path: str) -> TargetFile:
        """Return what the signers list at `path`, of whatever class; the lookups above narrow it.

        Raises:
            TrustError: Not listed (`trust.unlisted`), or its signers' metadata is refused as by `check`.
            TransferError: A delegated role could not be fetched.
        """
        with _translated(path):
            listed = self._updater.get_targetinfo(path)
            self._lint_targets("targets")
        if listed is None:
            raise TrustError(f"{path}: not listed by its signers", code="trust.unlisted")
        return listed

    def roles(self) -> list[str]:
        """Return the roles that the top-level targets delegate to; raises as `listed`."""
        return sorted(self._delegations())

    def document(self, role: str) -> Targets:
        """Return what `targets` or a role that it delegates to says, paths that the role has no right to included.

        Raises:
            TrustError: No path leads to the role (`trust.unlisted`), or its metadata is refused as by `check`.
            TransferError: It could not be fetched.
        """
        delegated = self._delegations().get(role)
        with _translated(role):
            for pattern in (delegated.paths or []) if delegated else []:
                # A search for a name that the pattern allows is what makes python-tuf load a role.
                self._updater.get_targetinfo(pattern.replace("*", "-"))
            self._lint_targets("targets")
            signed = self._cached(role)
        if signed is None:
            raise TrustError(f"{role}: no path leads to this role", code="trust.unlisted")
        return signed

    def _delegations(self) -> Mapping[str, DelegatedRole]:
        with _translated("targets"):
            top = self._cached("targets")
        delegations = top.delegations if top else None
        return (delegations.roles if delegations else None) or {}

    def _listed(self, path: str) -> Target:
        return target_from(self.listed(path))

    def _lint_targets(self, role: str) -> None:
        """Refuse delegations that list one key twice, in every role that was loaded."""
        signed = self._cached(role)
        if signed is None:
            return
        refuse_repeated_keys(signed)
        if signed.delegations and signed.delegations.roles:
            for name in signed.delegations.roles:
                self._lint_targets(name)

    def _cached(self, role: str) -> Targets | None:
        """Return a role's verified document, None before it was loaded."""
        path = self._folder / f"{quote(role, '')}.json"
        return Metadata[Targets].from_bytes(path.read_bytes()).signed if path.exists() else None


class _Fetcher(FetcherInterface):
    """python-tuf's port over a `Source`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Ask for the first piece at once: `fetch` translates errors only while this method runs."""
        pieces = self._source.read(url.removeprefix(_SCHEME), 0)
        try:
            first = next(pieces, b"")
        except TransferError as error:
            if error.code == "transfer.not_found":
                # Only this class ends python-tuf's search for a newer root.
                raise tuf.DownloadHTTPError(str(error), 404) from error
            raise
        return _with_first(first, pieces)


def _with_first(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn everything python-tuf raises into the error tree."""
    try:
        yield
    except VigilError:
        raise
    except (tuf.DownloadError, tuf.RepositoryError) as error:
        raise _translate(what, error) from error
    except OSError as error:
        message = f"{what}: the metadata cache cannot be used: {error.strerror or error}"
        raise StorageError(message, hint="check the disk and its free space") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        # Malformed metadata that slipped through python-tuf's own deserialisation errors.
        raise TrustError(
            f"{what}: malformed ({type(error).__name__})", code="trust.metadata"
        ) from error


def _translate(what: str, error: Exception) -> VigilError:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return TrustError(f"{what}: {error}", code=code)
    cause = error.__cause__
    return cause if isinstance(cause, VigilError) else TransferError(f"{what}: {error}")
