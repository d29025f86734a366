"""The reporter: one thread that sends state, measurements and whatever waits in the outbox.

Rules
- The state is sent when it changed (retained, never spooled: an old state is worth nothing).
- A batch of the outbox is in flight at a time, and nobody waits for it: state and measurements go on.
- A batch is small in bytes, so that an alert never waits long behind it on a slow line.
- What the broker refuses for good is dropped and counted. An unacknowledged batch is repeated; after a
  failure one message goes alone, so that one which breaks the connection every time (a broker that
  speaks 3.1.1 does not tell its limit) is found and dropped. A broker that acknowledges nothing else
  either proves nothing against a message.

    reporter = Reporter(topics, link, outbox, Sources(state, telemetry), interval_s=10.0)
    reporter.run(stop)
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from agent.errors import TransferError
from agent.schema.document import to_json
from agent.schema.messages import State, Telemetry
from agent.telemetry.delta import Deltas
from agent.telemetry.spool import Priority, Spooled

if TYPE_CHECKING:
    import threading

    from agent.schema.topics import DeviceTopics
    from agent.telemetry.outbox import Outbox

logger = logging.getLogger(__name__)

BATCH = 32
BATCH_BYTES = 128 * 1024
TICK_S = 0.2
POISON_TRIES = 5
# No broker's limit is below this; a smaller message is never taken for one that breaks connections.
POISON_BYTES = 16 * 1024


class Receipt(Protocol):
    """What became of a published message."""

    @property
    def settled(self) -> bool:
        """Whether the outcome is known."""

    @property
    def acked(self) -> bool:
        """Whether the broker has it."""

    @property
    def refused(self) -> str:
        """Why the broker will never take it; empty when trying again makes sense."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for the outcome; return whether the broker has it."""


class Line(Protocol):
    """The link as telemetry sees it."""

    @property
    def connected(self) -> bool:
        """Whether messages are taken now."""

    @property
    def acknowledged(self) -> int:
        """How many messages the broker acknowledged so far."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Receipt:
        """Send one message; raises `TransferError` when it is too large for the broker."""


@dataclass(frozen=True)
class Sources:
    """Where the reporter's own messages come from."""

    state: Callable[[], State]
    telemetry: Callable[[], Telemetry]


@dataclass(frozen=True)
class _Refused:
    """The receipt of a message that the link itself refused."""

    refused: str
    settled: bool = True
    acked: bool = False

    def wait(self, _timeout_s: float) -> bool:
        return False


class Reporter:
    """Sends until stopped; `interval_s` is the time between two measurements, seconds.

    Without `deltas` every one is sent in full.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        line: Line,
        outbox: Outbox,
        sources: Sources,
        interval_s: float,
        deltas: Deltas | None = None,
    ) -> None:
        self._topics = topics
        self._line = line
        self._outbox = outbox
        self._sources = sources
        self._interval_s = interval_s
        self._deltas = deltas or Deltas(full_every=1)
        self._measured_s = time.monotonic()
        self._numbers = itertools.count()
        self._hastened = False
        self._state: State | None = None
        self._state_receipt: Receipt | None = None
        self._flying: list[tuple[Spooled, Receipt]] = []
        self._acknowledged = 0
        self._failures = 0
        self._convictions = 0

    def hasten(self) -> None:
        """Send measurements now, in full; from any thread."""
        self._hastened = True

    def run(self, stop: threading.Event) -> None:
        """Send until `stop`; what is left then is on disk."""
        while not stop.is_set():
            if self._flying:
                self._flying[-1][1].wait(TICK_S)
            else:
                self._outbox.wait(TICK_S)
            self._report_state()
            self._report_measurements()
            self._collect()
            self._send_batch()
            self._outbox.commit_due()
        self._outbox.commit()

    def _report_state(self) -> None:
        receipt = self._state_receipt
        if receipt is not None and receipt.settled and not receipt.acked and not receipt.refused:
            self._state = None
        state = replace(self._sources.state(), at_ms=0)
        if self._line.connected and state != self._state:
            self._state = state
            payload = to_json(self._sources.state())
            self._state_receipt = self._publish(self._topics.state, payload, retain=True)

    def _report_measurements(self) -> None:
        whole, self._hastened = self._hastened, False
        if whole or time.monotonic() - self._measured_s >= self._interval_s:
            self._measured_s = time.monotonic()
            measured = replace(self._sources.telemetry(), seq=next(self._numbers))
            message = self._deltas.next(measured, whole=whole)
            full = isinstance(message, Telemetry)
            topic = self._topics.telemetry if full else self._topics.telemetry_delta
            self._outbox.put(topic, to_json(message), Priority.METRIC)

    def _collect(self) -> None:
        """Settle the batch in flight as far as its outcome is known."""
        flying = self._flying
        if not flying:
            return
        self._flying = [pair for pair in flying if not pair[1].settled]
        acked = [message.id for message, receipt in flying if receipt.acked]
        refused = [message for message, receipt in flying if receipt.refused]
        if acked:
            self._outbox.done(acked)
        if refused:
            logger.error("broker refuses %d messages for good: %s", len(refused), refused[0].topic)
            self._outbox.drop(refused)
        if not self._flying:
            self._judge(flying, failed=len(flying) > len(acked) + len(refused))

    def _judge(self, batch: list[tuple[Spooled, Receipt]], *, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        others_passed = self._line.acknowledged > self._acknowledged
        self._acknowledged = self._line.acknowledged
        self._convictions = self._convictions + others_passed if failed else 0
        first = batch[0][0]
        if self._convictions >= POISON_TRIES and len(first.payload) > POISON_BYTES:
            logger.error(
                "message for %s (%d bytes) ended %d connections and is dropped",
                first.topic,
                len(first.payload),
                self._failures,
            )
            self._outbox.drop([first])
            self._failures = self._convictions = 0

    def _send_batch(self) -> None:
        if self._flying or not self._line.connected:
            return
        batch = self._outbox.batch(1 if self._failures else BATCH, BATCH_BYTES)
        self._flying = [(one, self._publish(one.topic, one.payload)) for one in batch]

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Receipt:
        try:
            return self._line.publish(topic, payload, retain=retain)
        except TransferError as error:
            return _Refused(str(error))
