"""Carries roll-outs out: hears devices, asks the rules, writes down, and only then sends.

A crash between writing down and sending leaves a device that is `asked` and never was: it is sent the same
command again. That is harmless, for a device takes a command once and says nothing new of a repeated one.

A step costs what changed since the one before, not the size of the roll-out: see `agent.fleet.rollout_book`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from agent.errors import VigilError
from agent.fleet.inbox import Inbox
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_book import RolloutBook
from agent.fleet.rollout_rules import Standing, Verdict, decide_next
from agent.fleet.rollout_store import Rollout, RolloutStore, Row
from agent.fleet.rollout_tally import Progress, Step
from agent.host.clock import wall_ms
from agent.schema.messages import Outcome, Reply, ReplyStatus, State, UpdateReport
from agent.schema.topics import ParsedTopic

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_ASKED_AT_ONCE = 200  # in a step: what devices say in between may halt the rest
_STEPS = {
    ReplyStatus.ACCEPTED: Step.WORKING,
    ReplyStatus.RUNNING: Step.WORKING,
    ReplyStatus.SUCCEEDED: Step.COMMITTED,
    ReplyStatus.FAILED: Step.FAILED,
}
_ENDS = {Verdict.HALT: Standing.HALTED, Verdict.DONE: Standing.DONE}


class Road(Protocol):
    """How devices are reached and heard; the controller is one."""

    @property
    def connected(self) -> bool:
        """Whether a command would leave now."""

    @property
    def inbox(self) -> Inbox:
        """What devices said."""

    def send(self, command: SignedCommand) -> None:
        """Relay a command to its device."""


class RolloutRunner:
    """Carries out every running roll-out of a store over one road; `step` is called by one thread."""

    def __init__(
        self, store: RolloutStore, road: Road, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._store = store
        self._road = road
        self._now_ms = now_ms
        self._heard: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._moved: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: dict[str, tuple[bool, UpdateReport | None]] = {}
        self._sent: set[str] = set()
        self._books: dict[str, RolloutBook] = {}
        road.inbox.observe(self._hear)

    def step(self) -> None:
        """Take in what was heard, then do what the rules say, once for each running roll-out.

        Raises:
            StorageError: The store cannot be used; nothing was sent that is not written down.
        """
        try:
            self._step()
        except VigilError:
            self._books.clear()  # what was in doubt may be forgotten: read all of it again
            raise

    def run(self, stop: threading.Event) -> None:
        """Step every second until told to stop; faults are logged, and the next second tries again."""
        while not stop.wait(_EVERY_S):
            try:
                self.step()
            except VigilError as error:
                log.error("roll-outs stand still: %s", error)

    def _step(self) -> None:
        self._take_in()
        running = self._store.rollouts(Standing.RUNNING)
        self._books = {
            one.name: self._books.get(one.name) or RolloutBook(self._store, one) for one in running
        }
        moved = self._drained()
        for rollout in running:
            book = self._books[rollout.name]
            book.doubt(moved)
            self._advance(rollout, book)

    def _hear(self, topic: ParsedTopic, message: Any) -> None:
        """Network thread: keep replies, and who came, went or has a new word about an update."""
        if isinstance(message, Reply) and message.id:
            self._heard.put(message)
        elif isinstance(message, State):
            said = (message.online, message.last_update)
            if self._said.get(topic.device) != said:
                self._said[topic.device] = said
                self._moved.put(topic.device)

    def _take_in(self) -> None:
        while not self._heard.empty():
            reply = self._heard.get()
            try:
                self._store.note(
                    reply.id, reply.device, _STEPS[reply.status], self._now_ms(), reply.code
                )
            except VigilError:
                self._heard.put(reply)
                raise
            self._moved.put(reply.device)

    def _drained(self) -> set[str]:
        moved = set()
        while not self._moved.empty():
            moved.add(self._moved.get())
        return moved

    def _advance(self, rollout: Rollout, book: RolloutBook) -> None:
        now_ms = self._now_ms()
        self._catch_up(rollout, book, now_ms)
        decision = decide_next(rollout.plan, book.tally, now_ms, connected=self._road.connected)
        end = _ENDS.get(decision.verdict)
        if end is not None:
            self._store.move(rollout.name, Standing.RUNNING, end, decision.reason)
            log.warning("roll-out %s: %s: %s", rollout.name, end.value, decision.reason)
        elif decision.reason != rollout.reason:
            self._store.explain(rollout.name, decision.reason)
        for device in decision.send[:_ASKED_AT_ONCE]:
            book.doubt({device})
            self._ask(rollout, book.rows[device])

    def _ask(self, rollout: Rollout, row: Row) -> None:
        before_ms = _reported_ms(rollout, self._road.inbox.state(row.device))
        if self._store.claim(rollout.name, row, self._now_ms(), before_ms):
            envelope = self._store.envelope(rollout.name, row.device)
            self._road.send(SignedCommand(row.command, f"d/{row.device}", envelope))
            self._sent.add(row.command)

    def _catch_up(self, rollout: Rollout, book: RolloutBook, now_ms: int) -> None:
        """Read what is in doubt; learn ends from states where the replies were missed, as while we were down."""
        fresh = book.read(now_ms)
        for row in fresh.values():
            if row.step in {Step.ASKED, Step.WORKING}:
                report = _report(rollout, self._road.inbox.state(row.device))
                if report is not None and report.at_ms > row.before_ms:
                    good = report.outcome is Outcome.COMMITTED
                    step = Step.COMMITTED if good else Step.FAILED
                    self._store.note(row.command, row.device, step, now_ms, report.code)
                    book.doubt({row.device})
        fresh |= book.read(now_ms)
        for row in fresh.values():
            book.tally.put(self._progress(row, now_ms))

    def _progress(self, row: Row, now_ms: int) -> Progress:
        state = self._road.inbox.state(row.device)
        return Progress(
            row.device,
            row.wave,
            row.step,
            row.sent_ms,
            row.settled_ms,
            online=state is not None and state.online,
            valid=bool(row.command) and row.expires_s * 1000 > now_ms,
            unsure=row.command not in self._sent,
        )


@contextlib.contextmanager
def carrying_out(database: Path | str, road: Road) -> Iterator[None]:
    """Carry out the roll-outs in the registry's database in a thread, until the block ends.

    Raises:
        StorageError: The database cannot be used.
    """
    store, stop = RolloutStore(database), threading.Event()
    runner = RolloutRunner(store, road)
    thread = threading.Thread(target=runner.run, args=(stop,), name="vigil-rollouts")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        store.close()


def _report(rollout: Rollout, state: State | None) -> UpdateReport | None:
    """Return a device's last word about the roll-out's release, None when it has none."""
    report = state.last_update if state is not None else None
    return report if report is not None and report.path == rollout.path else None


def _reported_ms(rollout: Rollout, state: State | None) -> int:
    report = _report(rollout, state)
    return report.at_ms if report is not None else 0
