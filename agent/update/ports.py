"""What the updater needs from the outside: Protocols, and the values that cross them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from agent.errors import VigilError
from agent.models.store import InstalledRelease
from agent.schema.manifest import ReleaseRef
from agent.schema.values import Struct


@dataclass(frozen=True)
class Offer:
    """A release somebody with the right to do so asks for.

    Attributes:
        ref: The exact release.
        command_id: Command that asked, empty when none did.
        force: Try the release again although this device rejected it or rolled it back before.
        below_floor: The rollback floor does not hold for exactly this release.
    """

    ref: ReleaseRef
    command_id: str = ""
    force: bool = False
    below_floor: bool = False


class Strain(Struct):
    """What the board bears at one moment; None where it does not say.

    Attributes:
        temperature_c: Hottest sensor, degrees Celsius.
        memory_pressure: Share of the last ten seconds in which some task waited for memory, percent.
        worker_mb: Proportional set size of the serving worker, MiB.
    """

    temperature_c: float | None = None
    memory_pressure: float | None = None
    worker_mb: float | None = None


UNKNOWN = Strain()


@dataclass(frozen=True)
class Health:
    """How the serving model does since the last swap or serve.

    Attributes:
        frames: Frames handed to the model, failed ones included.
        errors: Those whose inference failed.
        p95_ms: 95th percentile of one inference, milliseconds.
        restarts: Times the worker died.
        seconds: Length of the observation.
        strain: What it costs the board now.
    """

    frames: int
    errors: int
    p95_ms: float
    restarts: int
    seconds: float
    strain: Strain = UNKNOWN


class ModelHost(Protocol):
    """Whoever runs models: the supervisor and its worker."""

    def trial(self, release: InstalledRelease) -> None:
        """Load `release` beside the serving model and run its golden set; the candidate stays alive.

        Raises:
            ModelError: Anything is wrong with it; nothing of it is left.
        """

    def swap(self) -> float | None:
        """Let the candidate of the last trial serve; return the gap in results, milliseconds.

        None when no results were flowing before: there is no gap to measure.

        Raises:
            ModelError: There is no candidate or it died.
        """

    def discard(self) -> None:
        """Stop the candidate, if there is one."""

    def serve(self, release: InstalledRelease | None) -> None:
        """Serve with `release` from now on; None serves nothing.

        Raises:
            ModelError: It cannot be loaded.
        """

    def health(self) -> Health:
        """Return the serving model's health since the last swap or serve."""


class Source(Protocol):
    """A road to the repository's files."""

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from byte `start` to its end, in pieces of any size.

        Args:
            path: Path in the repository, for example `metadata/timestamp.json`.
            start: First byte wanted.

        Raises:
            TransferError: The road is bad; `transfer.not_found` when the file is not there.
        """


class Channel(Protocol):
    """One request/response topic pair of this device."""

    @property
    def generation(self) -> int:
        """Return a number that rises at every (re)subscription: answers may be lost, ask again."""

    def send(self, body: bytes) -> None:
        """Send a request.

        Raises:
            TransferError: Offline.
        """

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next response, or None when there was none for `timeout_s` seconds."""


class Replier(Protocol):
    """Tells the command's sender what became of it; may be kept and finished later."""

    def accepted(self) -> None:
        """The command will be carried out."""

    def running(self, message: str) -> None:
        """Say how far it is."""

    def succeeded(self, **data: Any) -> None:
        """It is done."""

    def failed(self, error: VigilError) -> None:
        """It could not be done."""
