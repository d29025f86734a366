"""The updater: carries one release at a time through the state table, from an offer to its end.

Rules
- The journal is written first, then the world is changed; every write is reported to the observer.
- Before the swap nothing of the serving release is touched. After it, `previous` is the way back.
- Each class of error ends an update in one way; only the road's, the key store's and the disk's faults
  leave a release that may be asked for again as it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from agent.errors import ModelError, PackageError, StorageError, VigilError
from agent.models.store import InstalledRelease
from agent.schema.manifest import Manifest
from agent.schema.messages import Outcome, Phase, Progress
from agent.update import record as records
from agent.update.bookkeeper import Bookkeeper, Observer, report_of
from agent.update.journal import Journal
from agent.update.offers import Offers
from agent.update.ports import ModelHost, Offer, Replier
from agent.update.probation import Judgement, Probation, ProbationLimits
from agent.update.record import UpdateRecord
from agent.update.staging import Stager
from agent.update.states import RESTING, Happening, Recovery

logger = logging.getLogger(__name__)

_WAKE_S = 0.5
_PROGRESS_S = 0.5


class _StoppingError(Exception):
    """The agent stops in the middle of an update; the journal knows where to go on."""


class Updater:
    """Runs updates in a thread of its own.

    Args:
        journal: Where the record lives.
        stager: Brings a release to the disk; its store and floor are the updater's too.
        host: Runs models.
        limits_of: What a release must bear on probation.
        observe: Told of every transition, and of progress.
        poll_s: Seconds between two looks at the health on probation.
        between: Called every now and then while no update is under way, in the updater's thread.
    """

    def __init__(  # noqa: PLR0913 - the room's composition root
        self,
        journal: Journal,
        stager: Stager,
        host: ModelHost,
        limits_of: Callable[[Manifest], ProbationLimits],
        observe: Observer,
        *,
        poll_s: float = 1.0,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._books = Bookkeeper(journal, stager.store, stager.floor, observe)
        self._stager, self._host = stager, host
        self._limits_of, self._observe, self._poll_s = limits_of, observe, poll_s
        self._recovery = Recovery.SERVE
        self._replier: Replier | None = None
        self._offers = Offers()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._progress_at = 0.0
        self._between = between

    @property
    def record(self) -> UpdateRecord:
        """Return the present record, a value."""
        return self._books.record

    @property
    def problem(self) -> str:
        """Return why `resume` found nothing to serve."""
        return self._books.problem

    # -- before the loops -------------------------------------------------------------------------------

    def resume(self) -> InstalledRelease | None:
        """Finish or undo what the last life left, and return what is to serve now.

        Called once, before `run`. None only when no release that was ever committed can be loaded.
        """
        books = self._books
        record, self._recovery, problem = records.resume(books.read())
        books.record = record
        if problem:
            books.end(ModelError(problem, code="update.crash_loop"))
        elif self._recovery is not Recovery.SERVE:
            self._count_or_undo(record)
        release = books.load_current()
        if books.record.phase in RESTING:
            self._recovery = Recovery.SERVE
        books.settle()
        if self._recovery is not Recovery.SERVE:
            self._offers.begin()
        return release

    def _count_or_undo(self, record: UpdateRecord) -> None:
        """Write that the candidate is tried once more; what cannot be counted is not tried."""
        try:
            self._books.move(record)
        except StorageError as error:
            self._books.end(error)

    @property
    def resumed_command(self) -> str:
        """Return the id of the command whose update goes on after `resume`; empty when none does."""
        return self.record.command_id if self._recovery is not Recovery.SERVE else ""

    def adopt(self, replier: Replier) -> None:
        """Tell `replier` how the resumed update ends; before `run`."""
        self._replier = replier

    # -- from other threads -----------------------------------------------------------------------------

    def submit(self, offer: Offer, replier: Replier) -> None:
        """Take a release to install; `replier` is told how it ends.

        Raises:
            CommandError: An update is under way (`command.busy`), or this release failed here before
                and is not forced (`update.bad_release`).
        """
        is_needed = self._offers.put(offer, replier, self.record)
        replier.accepted()
        if is_needed:
            self._wake.set()
        else:
            replier.succeeded(release=offer.ref.path, outcome=Outcome.COMMITTED.value)

    def reserved(self) -> AbstractContextManager[None]:
        """Keep updates away from the releases on disk while the block runs.

        Raises:
            CommandError: An update is under way (`command.busy`), when the block is entered.
        """
        return self._offers.reserved(self.record)

    # -- the loop ---------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Carry out updates until `stop` is set; an unfinished one goes on in the next life."""
        self._stop = stop
        self.work()
        while not stop.is_set():
            self._between()
            if self._wake.wait(_WAKE_S):
                self._wake.clear()
                self.work()

    def work(self) -> None:
        """Carry out everything that waits now: what the last life left, then an offer."""
        recovery, self._recovery = self._recovery, Recovery.SERVE
        if recovery is Recovery.CONTINUE:
            self._carry(self._install)
        elif recovery is Recovery.WATCH:
            self._carry(self._watch_again)
        if taken := self._offers.take():
            offer, self._replier = taken
            self._carry(lambda: self._begin(offer))

    def _begin(self, offer: Offer) -> None:
        self._books.clear_for(offer.ref)
        try:
            self._move(records.offered(self.record, offer))
        except StorageError as error:
            # Nothing has begun, so there is nothing to end: the record stays as it is.
            logger.error("%s", error.diagnostics())
            if self._replier:
                self._replier.failed(error)
            return
        self._install()

    def _carry(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _StoppingError:
            logger.info("stopped while %s; the next start goes on", self.record.phase.value)
            return
        except VigilError as error:
            if self._stop.is_set():
                # The host was taken away under the model, which is not the model's fault.
                logger.info("stopped while %s: %s", self.record.phase.value, error)
                return
            self._end(error)
        finally:
            self._replier = None
            self._offers.finish()

    def _install(self) -> None:
        """Carry the candidate from download to its end; every failure is an exception."""
        candidate = self.record.candidate
        if candidate is None:
            raise PackageError("the journal names no candidate", code="package.none")
        previous = self.record.previous
        staged = self._stager.fetch(
            candidate,
            self._progress,
            below_floor=self.record.below_floor,
            returning=previous is not None and previous.sha256 == candidate.sha256,
        )
        if self._replier:
            for problem in staged.missing:
                self._replier.running(f"without fallback {problem}")
        self._move(records.fetched(self.record, staged.ref, staged.variant.id))
        release = self._stager.open(staged)
        self._move(records.moved(self.record, Happening.OPENED))
        self._move(records.trying(self.record, self._host.health().strain))
        self._host.trial(release)
        self._move(records.on_probation(self.record))
        self._watch(release, self._host.swap())

    def _watch_again(self) -> None:
        current = self.record.current
        if current is None:
            raise PackageError("the journal names no current release", code="package.none")
        self._watch(self._stager.store.load(current), None)

    def _watch(self, release: InstalledRelease, gap_ms: float | None) -> None:
        """Look at the new model's health until it is good or bad enough."""
        probation = Probation(self._limits_of(release.manifest), self.record.before)
        while (verdict := probation.look(self._host.health())).judgement is Judgement.CONTINUE:
            if self._stop.wait(self._poll_s):
                raise _StoppingError
        if verdict.judgement is Judgement.FAILED:
            raise ModelError(f"{release.ref.label}: {verdict.reason}", code=verdict.code)
        report = report_of(self.record.candidate, Outcome.COMMITTED, None, gap_ms)
        self._move(records.committed(self.record, report))
        self._books.settle()
        if self._replier:
            data = {"release": report.path, "outcome": report.outcome.value, "swap_gap_ms": gap_ms}
            self._replier.succeeded(**data)

    # -- the end ----------------------------------------------------------------------------------------

    def _end(self, error: VigilError) -> None:
        """End the update: journal, then the serving model, then the reply."""
        phase = self.record.phase
        self._books.end(error)
        if phase is Phase.PROBATION:
            self._go_back()
        elif phase is Phase.TRIAL:
            self._host.discard()
        self._books.settle()
        if self._replier:
            self._replier.failed(error)

    def _go_back(self) -> None:
        try:
            self._host.serve(self._books.load_current())
        except ModelError as error:
            logger.error("the previous release does not serve: %s", error.diagnostics())

    def _move(self, record: UpdateRecord) -> None:
        self._books.move(record)
        if self._replier and record.candidate:
            self._replier.running(record.phase.value)

    def _progress(self, progress: Progress) -> None:
        if self._stop.is_set():
            raise _StoppingError
        now = time.monotonic()
        if now - self._progress_at >= _PROGRESS_S or progress.done == progress.total:
            self._progress_at = now
            self._observe(self.record, progress)
