"""One at a time: takes an offer, or keeps updates away while something else touches the releases."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from agent.errors import CommandError
from agent.schema.manifest import ReleaseRef
from agent.update.ports import Offer, Replier
from agent.update.record import UpdateRecord


class Offers:
    """What waits for the updater, and whether it is free. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: tuple[Offer, Replier] | None = None
        self._is_busy = False

    def put(self, offer: Offer, replier: Replier, record: UpdateRecord) -> bool:
        """Take an offer to a device whose updater stands at `record`; return whether there is anything to do.

        Raises:
            CommandError: An update is under way (`command.busy`), or this release failed here before
                and is not forced (`update.bad_release`).
        """
        with self._lock:
            self._refuse_when_busy(record)
            _refuse_bad(offer, record)
            is_needed = offer.force or not _is_same(offer.ref, record.current)
            self._is_busy = is_needed
            self._waiting = (offer, replier) if is_needed else None
        return is_needed

    def take(self) -> tuple[Offer, Replier] | None:
        """Return what waits, if something does; the updater stays busy with it until `finish`."""
        with self._lock:
            taken, self._waiting = self._waiting, None
        return taken

    def begin(self) -> None:
        """Be busy with what the last life left."""
        with self._lock:
            self._is_busy = True

    def finish(self) -> None:
        """Be free again."""
        with self._lock:
            self._is_busy = False

    @contextlib.contextmanager
    def reserved(self, record: UpdateRecord) -> Iterator[None]:
        """Be busy while the block runs; raises as `put`."""
        with self._lock:
            self._refuse_when_busy(record)
            self._is_busy = True
        try:
            yield
        finally:
            self.finish()

    def _refuse_when_busy(self, record: UpdateRecord) -> None:
        if self._is_busy:
            message = f"an update is under way ({record.phase.value})"
            raise CommandError(message, code="command.busy", hint="send it again when it is over")


def _refuse_bad(offer: Offer, record: UpdateRecord) -> None:
    reason = record.bad.get(offer.ref.sha256)
    if reason is not None and not offer.force:
        message = f"{offer.ref.path} failed on this device before: {reason}"
        hint = "deploy a newer release, or force this one"
        raise CommandError(message, code="update.bad_release", hint=hint)


def _is_same(ref: ReleaseRef, current: ReleaseRef | None) -> bool:
    return current is not None and (ref.path, ref.sha256) == (current.path, current.sha256)
