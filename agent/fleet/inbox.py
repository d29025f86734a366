"""What devices have said: latest state and telemetry per device, replies per command, for waiting threads.

Payloads come from devices, so each is decoded strictly; what does not fit is logged and dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from agent.errors import TransferError
from agent.schema.document import Malformed, parse_json
from agent.schema.drift import DriftNotice
from agent.schema.events import Event, ZoneEvent
from agent.schema.governor import GovernorMove
from agent.schema.measures import TelemetryDelta
from agent.schema.messages import Detections, Reply, ReplyStatus, State, Telemetry
from agent.schema.topics import ParsedTopic

log = logging.getLogger(__name__)

T = TypeVar("T")

KINDS: dict[str, type[Any]] = {
    "state": State,
    "reply": Reply,
    "telemetry": Telemetry,
    "telemetry/delta": TelemetryDelta,
    "event": Event,
    "zone": ZoneEvent,
    "detections": Detections,
    "governor": GovernorMove,
    "drift": DriftNotice,
}
Observer = Callable[[ParsedTopic, Any], None]
Acknowledge = Callable[[], None]
Keeper = Callable[[Reply, Acknowledge], None]
_FINAL = {ReplyStatus.SUCCEEDED, ReplyStatus.FAILED}
_REMEMBERED_COMMANDS = 10_000
_MESSAGE_LIMIT = 256 * 1024  # bytes


class Inbox:
    """Collects messages; `put` is called by one thread, everything else by any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: dict[tuple[str, str], Any] = {}
        self._replies: OrderedDict[str, list[Reply]] = OrderedDict()
        self._observers: list[Observer] = []
        self._keeper: Keeper = _acknowledge_at_once

    def observe(self, observer: Observer) -> None:
        """Call `observer(topic, message)` for every message, in the network thread: be quick."""
        self._observers.append(observer)

    def keep_replies(self, keeper: Keeper) -> None:
        """Leave it to `keeper` to acknowledge each reply, once it is kept; called in the network thread: be quick."""
        self._keeper = keeper

    def put(
        self, topic: ParsedTopic, payload: bytes, acknowledge: Acknowledge = lambda: None
    ) -> None:
        """Take in one message of a device, and acknowledge it; malformed ones are dropped."""
        message = self._read(topic, payload)
        if message is not None:
            self._keep(topic, message)
            for observer in self._observers:
                observer(topic, message)
        if isinstance(message, Reply):
            self._keeper(message, acknowledge)
        else:
            acknowledge()

    def _read(self, topic: ParsedTopic, payload: bytes) -> Any:
        """Return a message, None where it is none of this device's."""
        if len(payload) > _MESSAGE_LIMIT:
            log.warning("%s of %s dropped: too long", topic.leaf, topic.device)
            return None
        try:
            message = parse_json(payload, KINDS[topic.leaf])
        except Malformed as error:
            log.warning("%s of %s dropped: %s", topic.leaf, topic.device, error)
            return None
        if message.device != topic.device:
            log.warning("%s of %s dropped: it names another device", topic.leaf, topic.device)
            return None
        return message

    def state(self, device: str) -> State | None:
        """Return the device's latest state, None before its first."""
        with self._changed:
            return self._latest.get((device, "state"))

    def telemetry(self, device: str) -> Telemetry | None:
        """Return the device's latest telemetry, None before its first."""
        with self._changed:
            return self._latest.get((device, "telemetry"))

    def states(self) -> list[State]:
        """Return the latest state of every device that has one."""
        with self._changed:
            kept = sorted(self._latest.items())
        return [message for (_, leaf), message in kept if leaf == "state"]

    def replies(self, command: str) -> list[Reply]:
        """Return the replies to a command so far, in order of arrival."""
        with self._changed:
            return list(self._replies.get(command, ()))

    def take_replies(self, command: str) -> list[Reply]:
        """Return the replies to a command so far, in order of arrival, and forget them."""
        with self._changed:
            return self._replies.pop(command, [])

    def wait_states(self, devices: Collection[str], timeout_s: float) -> bool:
        """Wait until every one of these devices has a state; return whether that came true in time."""
        waiting = list(devices)

        def all_here() -> bool | None:
            while waiting and (waiting[-1], "state") in self._latest:
                waiting.pop()
            return not waiting or None

        return self._wait(all_here, timeout_s) or False

    def wait_reply(self, command: str, timeout_s: float, device: str = "") -> Reply:
        """Wait until a command has succeeded or failed and return that reply.

        Args:
            command: The command's id.
            timeout_s: Seconds to wait.
            device: Whose reply; any device's when empty.

        Raises:
            TransferError: No final reply came in time.
        """

        def final() -> Reply | None:
            return next(
                (
                    reply
                    for reply in self._replies.get(command, ())
                    if reply.status in _FINAL and device in {"", reply.device}
                ),
                None,
            )

        found = self._wait(final, timeout_s)
        if found is None:
            seen = ", ".join(reply.status.value for reply in self.replies(command)) or "no reply"
            message = f"command {command}: expected an end within {timeout_s:.0f} s, found {seen}"
            hint = (
                "is the device on, and connected? ask `vigil fleet show`; a longer --wait may help"
            )
            raise TransferError(message, code="transfer.timeout", hint=hint)
        return found

    def wait_state(self, device: str, wanted: Callable[[State], bool], timeout_s: float) -> State:
        """Wait until a device's latest state satisfies `wanted` and return it.

        Raises:
            TransferError: It did not in time.
        """

        def matching() -> State | None:
            state: State | None = self._latest.get((device, "state"))
            return state if state is not None and wanted(state) else None

        found = self._wait(matching, timeout_s)
        if found is None:
            message = f"device {device}: its state did not become as wanted in {timeout_s:.0f} s"
            raise TransferError(message, code="transfer.timeout")
        return found

    def _wait(self, find: Callable[[], T | None], timeout_s: float) -> T | None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            found = find()
            while found is None and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
                found = find()
        return found

    def _keep(self, topic: ParsedTopic, message: Any) -> None:
        with self._changed:
            if isinstance(message, Reply):
                self._replies.setdefault(message.id, []).append(message)
                while len(self._replies) > _REMEMBERED_COMMANDS:
                    self._replies.popitem(last=False)
            elif topic.leaf in {"state", "telemetry"}:
                self._latest[(topic.device, topic.leaf)] = message
            self._changed.notify_all()


def _acknowledge_at_once(_reply: Reply, acknowledge: Acknowledge) -> None:
    acknowledge()
