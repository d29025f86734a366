"""Carries roll-outs out: hears devices, asks the rules, writes down, and only then sends.

A crash between writing down and sending leaves a device that is `asked` and never was: it is sent the same
command again. That is harmless, for a device takes a command once and says nothing new of a repeated one. A device that
speaks, and for a minute does not say that it took its command, is sent it again, too, ever more rarely: a broker that lost
what it kept has acknowledged a command that nobody will see.

A reply is acknowledged to the broker once it is written down, so that the next controller hears what this one did not write.

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
from agent.fleet.inbox import Acknowledge, Inbox
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_book import RolloutBook
from agent.fleet.rollout_rules import Standing, Verdict, decide_next
from agent.fleet.rollout_store import Rollout, RolloutStore, Row
from agent.fleet.rollout_tally import OPEN, Progress, Step
from agent.host.clock import wall_ms
from agent.schema.messages import Outcome, Reply, ReplyStatus, State, UpdateReport
from agent.schema.topics import ParsedTopic

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_AGAIN_MS = 60_000
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
    """Carries out every running roll-out of a store over one road; `step` is called by one thread, `listen` by another."""

    def __init__(
        self, store: RolloutStore, road: Road, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._store = store
        self._road = road
        self._now_ms = now_ms
        # Both threads take from it: a SimpleQueue may then wait for good, where what woke it was taken by the other.
        self._heard: queue.Queue[tuple[Reply, Acknowledge]] = queue.Queue()
        self._moved: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said: dict[str, tuple[bool, UpdateReport | None]] = {}
        self._sent: set[str] = set()
        self._unanswered: set[str] = set()
        self._books: dict[str, RolloutBook] = {}
        self._at_work: list[Rollout] | None = None
        self._deaf_ms = now_ms()
        road.inbox.observe(self._hear)
        road.inbox.keep_replies(self._hear_reply)

    def step(self) -> None:
        """Take in what was heard, then do what the rules say, once for each running roll-out.

        Without a connection nothing is decided.

        Raises:
            StorageError: The store cannot be used; nothing was sent that is not written down.
        """
        try:
            self._step()
        except VigilError:
            # What was in doubt may be forgotten: read all of it again. Replies may wait at the broker: nobody is silent.
            self._books, self._at_work, self._deaf_ms = {}, None, self._now_ms()
            raise

    def run(self, stop: threading.Event) -> None:
        """Step every second until told to stop; faults are logged, and the next second tries again."""
        while not stop.wait(_EVERY_S):
            try:
                self.step()
            except VigilError as error:
                log.error("roll-outs stand still: %s", error)

    def listen(self, stop: threading.Event) -> None:
        """Write replies down as they come until told to stop: the broker has few on their way before it waits."""
        while not stop.is_set():
            try:
                self._note(*self._heard.get(timeout=_EVERY_S))
            except queue.Empty:
                continue
            except VigilError as error:
                log.error("replies are not written down: %s", error)
                stop.wait(_EVERY_S)

    def _step(self) -> None:
        self._take_in()
        if not self._road.connected:
            self._deaf_ms = self._now_ms()
            return
        running = self._store.rollouts(Standing.RUNNING)
        if self._at_work is None or self._books.keys() != {one.name for one in running}:
            self._at_work = self._store.at_work()
        self._books = {
            one.name: self._books.get(one.name) or RolloutBook(self._store, one) for one in running
        }
        moved, now_ms = self._drained(), self._now_ms()
        for rollout in self._at_work:
            for row in self._store.some_devices(rollout.name, moved):
                self._learn(rollout, row, now_ms)
        for rollout in running:
            book = self._books[rollout.name]
            book.doubt(moved)
            self._advance(rollout, book, now_ms)

    def _hear(self, topic: ParsedTopic, message: Any) -> None:
        """Network thread: keep who came, went, owes a reply or has a new word about an update."""
        if isinstance(message, State):
            said = (message.online, message.last_update)
            if self._said.get(topic.device) != said or topic.device in self._unanswered:
                self._said[topic.device] = said
                self._moved.put(topic.device)

    def _hear_reply(self, reply: Reply, acknowledge: Acknowledge) -> None:
        """Network thread."""
        self._heard.put((reply, acknowledge))

    def _take_in(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._note(*self._heard.get_nowait())

    def _note(self, reply: Reply, acknowledge: Acknowledge) -> None:
        step = _STEPS[reply.status]
        try:
            self._store.note(reply.id, reply.device, step, self._now_ms(), reply.code)
        except VigilError:
            self._heard.put((reply, acknowledge))
            raise
        acknowledge()
        self._unanswered.discard(reply.device)
        self._moved.put(reply.device)

    def _drained(self) -> set[str]:
        moved = set()
        while not self._moved.empty():
            moved.add(self._moved.get())
        return moved

    def _advance(self, rollout: Rollout, book: RolloutBook, now_ms: int) -> None:
        self._catch_up(rollout, book, now_ms)
        decision = decide_next(rollout.plan, book.tally, now_ms, self._deaf_ms)
        end = _ENDS.get(decision.verdict)
        if end is not None:
            self._store.move(rollout.name, Standing.RUNNING, end, decision.reason, now_ms)
            level = logging.INFO if end is Standing.DONE else logging.WARNING
            log.log(level, "roll-out %s: %s: %s", rollout.name, end.value, decision.reason)
        elif decision.reason != rollout.reason:
            self._store.explain(rollout.name, decision.reason)
        for device in decision.send[:_ASKED_AT_ONCE]:
            book.doubt({device})
            self._ask(rollout, book.rows[device])

    def _ask(self, rollout: Rollout, row: Row) -> None:
        before_ms = _reported_ms(rollout, self._road.inbox.state(row.device))
        # Whoever is sent the same command again has as long as before.
        sent_ms = row.sent_ms if row.command in self._sent else self._now_ms()
        if self._store.claim(rollout.name, row, sent_ms, before_ms):
            envelope = self._store.envelope(rollout.name, row.device)
            self._road.send(SignedCommand(row.command, f"d/{row.device}", envelope))
            self._sent.add(row.command)
            self._unanswered.add(row.device)

    def _catch_up(self, rollout: Rollout, book: RolloutBook, now_ms: int) -> None:
        fresh = book.read(now_ms)
        book.doubt({row.device for row in fresh.values() if self._learn(rollout, row, now_ms)})
        fresh |= book.read(now_ms)
        for row in fresh.values():
            book.tally.put(self._progress(row, now_ms))

    def _learn(self, rollout: Rollout, row: Row, now_ms: int) -> bool:
        """Note an end that the device's state tells, where its reply was missed; return whether there was one."""
        report = _report(rollout, self._road.inbox.state(row.device))
        if row.step not in OPEN or report is None or report.at_ms <= row.before_ms:
            return False
        step = Step.COMMITTED if report.outcome is Outcome.COMMITTED else Step.FAILED
        self._store.note(row.command, row.device, step, now_ms, report.code)
        return True

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
            unsure=row.command not in self._sent or _seems_lost(row, now_ms),
        )


@contextlib.contextmanager
def carrying_out(database: Path | str, road: Road) -> Iterator[None]:
    """Carry out the roll-outs in the registry's database in two threads, until the block ends.

    Connect the road within the block: what the broker kept for us comes at once, and is heard only by who listens already.

    Raises:
        StorageError: The database cannot be used.
    """
    store, stop = RolloutStore(database), threading.Event()
    runner = RolloutRunner(store, road)
    threads = [
        threading.Thread(target=runner.run, args=(stop,), name="vigil-rollouts"),
        threading.Thread(target=runner.listen, args=(stop,), name="vigil-replies"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        store.close()


def _seems_lost(row: Row, now_ms: int) -> bool:
    """Return whether a command should have been answered: after one minute, three, seven and so on."""
    return now_ms - row.sent_ms >= _AGAIN_MS * ((1 << row.sends) - 1)


def _report(rollout: Rollout, state: State | None) -> UpdateReport | None:
    """Return a device's last word about the roll-out's release, None when it has none."""
    report = state.last_update if state is not None else None
    return report if report is not None and report.path == rollout.path else None


def _reported_ms(rollout: Rollout, state: State | None) -> int:
    report = _report(rollout, state)
    return report.at_ms if report is not None else 0
