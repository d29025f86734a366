"""The one who writes: keeps the record in memory and in the journal, and tidies up after an update.

Rules
- The journal is written before the record in memory changes, and the observer hears of it after both.
- Where the end of an update cannot be written, it holds in memory only; the next start finishes or undoes the
  update from the step before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from agent.errors import StorageError, VigilError
from agent.host.clock import wall_ms
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Outcome, Phase, Progress, UpdateReport
from agent.trust.floor import Floor
from agent.update import record as records
from agent.update.endings import end_of, is_over
from agent.update.journal import Journal
from agent.update.record import UpdateRecord

logger = logging.getLogger(__name__)
Observer = Callable[[UpdateRecord, Progress | None], None]


class Bookkeeper:
    """Changes the record; nobody else does.

    Args:
        journal: Where the record lives.
        store: Installed releases.
        floor: Raised at commit, never before.
        observe: Told of every transition.

    Attributes:
        problem: Why no release can be loaded, as far as is known.
    """

    def __init__(
        self, journal: Journal, store: ModelStore, floor: Floor, observe: Observer
    ) -> None:
        self._journal, self._store, self._floor, self._observe = journal, store, floor, observe
        self.record = UpdateRecord()
        self.problem = "no model is installed; deploy a release"

    def read(self) -> UpdateRecord:
        """Read the record; where it is lost, take the newest release ever committed here as current."""
        try:
            record = self._journal.read()
        except StorageError as error:
            logger.error("%s", error.diagnostics())
            record = UpdateRecord(last=report_of(None, Outcome.FAILED, error))
        if record.phase is Phase.IDLE and record.current is None:
            record = msgspec.structs.replace(record, current=self._newest_committed())
        return record

    def move(self, record: UpdateRecord) -> None:
        """Make `record` the present one, durably.

        Raises:
            StorageError: It could not be written; the record before still stands.
        """
        self._journal.write(record)
        self.keep(record)

    def keep(self, record: UpdateRecord) -> None:
        """Make `record` the present one in memory only."""
        self.record = record
        self._observe(record, None)

    def end(self, error: VigilError) -> None:
        """Write how `error` ends the update, as well as the disk allows."""
        ending = end_of(self.record.phase, error)
        report = report_of(self.record.candidate, ending.outcome, error)
        logger.warning("update ended: %s: %s", ending.outcome.value, error.diagnostics())
        record = ending.apply(self.record, report)
        try:
            self.move(record)
        except StorageError as fault:
            logger.error("the end of the update could not be written: %s", fault)
            self.keep(record)

    def settle(self) -> None:
        """Do what follows from a decision; repeated after a crash, so every step may repeat."""
        record = self.record
        if not is_over(record):
            return
        try:
            if record.phase is Phase.COMMITTED and record.current:
                self._floor.raise_to(counter=record.current.counter)
        except StorageError as error:
            logger.warning("raising the floor after the update: %s", error)
        self._clean_up()

    def clear_for(self, ref: ReleaseRef) -> None:
        """Remove what another failed release left; the same one goes on with its part."""
        last = self.record.last
        if last and last.outcome is Outcome.FAILED and last.path not in {ref.path, ""}:
            self._clean_up()

    def _clean_up(self) -> None:
        try:
            refs = (self.record.current, self.record.previous)
            self._store.keep_only([ref for ref in refs if ref])
        except StorageError as error:
            logger.warning("cleaning up after the update: %s", error)

    def load_current(self) -> InstalledRelease | None:
        """Load the current release, or the one before where its files do not load; None without any."""
        while (current := self.record.current) is not None:
            try:
                return self._store.load(current)
            except VigilError as error:
                self.problem = f"{current.label} cannot be loaded: {error}"
                logger.error("%s", self.problem)
                self._leave_current(error)
        return None

    def _leave_current(self, error: VigilError) -> None:
        if self.record.phase is Phase.PROBATION:
            self.end(error)
        else:
            self.keep(records.without_current(self.record))

    def _newest_committed(self) -> ReleaseRef | None:
        try:
            found = [
                ref for ref in self._store.installed() if ref.counter <= self._floor.stored_counter
            ]
        except VigilError as error:
            logger.error("the releases on disk cannot be listed: %s", error)
            return None
        return max(found, key=lambda ref: ref.counter, default=None)


def report_of(
    ref: ReleaseRef | None, outcome: Outcome, error: VigilError | None, gap_ms: float | None = None
) -> UpdateReport:
    """Return the report of one release's end; `gap_ms` is the measured gap of the swap."""
    return UpdateReport(
        release=ref.label if ref else "",
        path=ref.path if ref else "",
        outcome=outcome,
        code=error.code if error else "",
        reason=str(error) if error else "",
        at_ms=wall_ms(),
        swap_gap_ms=gap_ms,
    )
