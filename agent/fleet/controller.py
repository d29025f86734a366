"""The reference controller: serves keys and blocks, relays commands, listens to the fleet.

It owns no signing key: what it relays was signed by people, what it serves was signed by the release's
makers, and devices check both. It answers a device only on that device's own topics.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from agent.errors import VigilError
from agent.fleet import blocks as block_service
from agent.fleet import keys as key_service
from agent.fleet import renewal
from agent.fleet.access import CONTROLLER, DESK
from agent.fleet.blocks import BlockServer
from agent.fleet.connection import Connection
from agent.fleet.inbox import KINDS, Acknowledge, Inbox
from agent.fleet.keys import KeyService
from agent.fleet.operators import SignedCommand, destination
from agent.fleet.renewal import RenewalService
from agent.schema.certificates import CertificateReply
from agent.schema.config import BrokerConfig
from agent.schema.document import to_json
from agent.schema.messages import MESSAGE_VERSION, Hint, Reply
from agent.schema.topics import DeviceTopics, ParsedTopic, parse

log = logging.getLogger(__name__)

_HEARD = (
    ("state", 1),
    ("reply", 1),
    ("telemetry", 1),
    ("event/#", 1),
    ("zone/#", 1),
    ("detections/#", 0),
    ("governor", 1),
    ("drift", 1),
)
_SERVED = (("blk/req", 0), ("key/req", 1), ("crt/req", 1))
_SHARE = "$share/controllers/"
_WORKERS = 4
_WAITING = 64  # requests in hand before further ones are told to come back


@dataclass(frozen=True)
class Services:
    """What a controller answers devices with."""

    keys: KeyService
    blocks: BlockServer
    renewals: RenewalService | None = None


class Controller:
    """One controller on one broker.

    Args:
        broker: Where the broker is, and which certificate to show: of `controller`, or of
            `controller-desk` for one without services.
        services: What it serves; one without any only relays and listens.
        devices: Whom to listen to: one device's id, or `+` for all.
        session: File of its session at the broker, see `agent.fleet.connection`.
        name: Of its certificate, where it is another; see `agent.fleet.access`.
        shared: Share the requests of devices with the other controllers that do (MQTT's shared subscriptions).
    """

    def __init__(
        self,
        broker: BrokerConfig,
        services: Services | None,
        devices: str = "+",
        session: Path | None = None,
        name: str = "",
        *,
        shared: bool = False,
    ) -> None:
        self.inbox = Inbox()
        self._prefix = broker.prefix
        self._services = services
        self._places = threading.BoundedSemaphore(_WAITING)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="vigil-serve")
        # Who sends one device a command need not be told of ten thousand others.
        topics = f"{broker.prefix}/d/{devices}"
        filters = [(f"{topics}/{leaf}", qos) for leaf, qos in _HEARD]
        if services is not None:
            share = _SHARE if shared else ""
            filters += [(f"{share}{topics}/{leaf}", qos) for leaf, qos in _SERVED]
        name = name or (DESK if services is None else CONTROLLER)
        self._hint = b""
        self._connection = Connection(
            broker, filters, self._receive, name, session, self._hint_again
        )

    def start(self, timeout_s: float = 10.0) -> None:
        """Connect, subscribe and serve from now on.

        Raises:
            TransferError: The broker cannot be reached or refuses us.
            ConfigError: The certificate files cannot be used.
        """
        self._connection.open(timeout_s)

    def stop(self) -> None:
        """Finish what is in hand and disconnect; idempotent."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

    @property
    def connected(self) -> bool:
        """Whether the controller hears the fleet now."""
        return self._connection.connected

    def send(self, command: SignedCommand) -> None:
        """Relay a signed command to the device or group it is for.

        Raises:
            CommandError: The audience is neither.
        """
        kind, name = destination(command.audience)
        self._connection.publish(f"{self._prefix}/{kind}/{name}/cmd", command.envelope)

    def ask(self, command: SignedCommand, timeout_s: float = 30.0) -> Reply:
        """Relay a command and wait until it has succeeded or failed, on any device of a group.

        Raises:
            TransferError: No final reply came in time.
        """
        self.send(command)
        return self.inbox.wait_reply(command.id, timeout_s)

    def hint(self, timestamp_version: int) -> None:
        """Tell all devices (retained) that newer metadata may exist, again at every connection: brokers may forget."""
        self._hint = to_json(Hint(v=MESSAGE_VERSION, timestamp_version=timestamp_version))
        self._tell_hint()

    def _tell_hint(self) -> None:
        self._connection.publish(f"{self._prefix}/hint", self._hint, retain=True)

    # network thread --------------------------------------------------------------------------------

    def _hint_again(self) -> None:
        if self._hint:
            self._tell_hint()

    def _receive(self, topic: str, payload: bytes, acknowledge: Acknowledge) -> None:
        parsed = parse(topic, self._prefix)
        if parsed is not None and parsed.leaf in KINDS:
            self.inbox.put(parsed, payload, acknowledge)
            return
        if parsed is not None and self._services is not None:
            self._serve(_ROADS[parsed.leaf], self._services, parsed, payload)
        acknowledge()

    def _serve(self, road: _Road, services: Services, topic: ParsedTopic, payload: bytes) -> None:
        if self._places.acquire(blocking=False):
            future = self._pool.submit(self._answer, road, services, topic, payload)
            future.add_done_callback(lambda done: self._served(topic, done))
        else:
            self._put(road, topic.device, road.refuse(payload))

    # worker threads --------------------------------------------------------------------------------

    def _answer(self, road: _Road, services: Services, topic: ParsedTopic, payload: bytes) -> None:
        self._put(road, topic.device, road.answer(services, topic.device, payload))

    def _served(self, topic: ParsedTopic, done: Future[None]) -> None:
        self._places.release()
        error = None if done.cancelled() else done.exception()
        if error is not None:
            # Not answering makes the device ask again.
            trace = None if isinstance(error, VigilError) else error
            log.error("%s of %s not answered: %s", topic.leaf, topic.device, error, exc_info=trace)

    def _put(self, road: _Road, device: str, payload: bytes) -> None:
        topic = DeviceTopics(device, self._prefix).leaf(road.reply)
        self._connection.publish(topic, payload, road.qos)


@dataclass(frozen=True)
class _Road:
    """How one kind of request is answered, refused when too many wait, and sent back."""

    answer: Callable[[Services, str, bytes], bytes]
    refuse: Callable[[bytes], bytes]
    reply: str
    qos: int


_ROADS = {
    "blk/req": _Road(
        answer=lambda services, device, data: services.blocks.answer(device, data).encode(),
        refuse=lambda data: block_service.busy(data).encode(),
        reply="blk/rsp",
        # QoS 0: the device asks again for what got lost, the broker need not keep a copy.
        qos=0,
    ),
    "key/req": _Road(
        answer=lambda services, device, data: to_json(services.keys.answer(device, data)),
        refuse=lambda data: to_json(key_service.busy(data)),
        reply="key/rsp",
        qos=1,
    ),
    "crt/req": _Road(
        answer=lambda services, device, data: to_json(_renew(services, device, data)),
        refuse=lambda data: to_json(renewal.busy(data)),
        reply="crt/rsp",
        qos=1,
    ),
}


def _renew(services: Services, device: str, data: bytes) -> CertificateReply:
    return services.renewals.answer(device, data) if services.renewals else renewal.busy(data)
