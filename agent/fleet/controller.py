"""The reference controller: serves keys and blocks, relays commands, listens to the fleet.

It owns no signing key: what it relays was signed by people, what it serves was signed by the release's
makers, and devices check both. It answers a device only on that device's own topics.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from agent.errors import CommandError, VigilError
from agent.fleet import blocks as block_service
from agent.fleet import keys as key_service
from agent.fleet.blocks import BlockServer
from agent.fleet.connection import Connection
from agent.fleet.inbox import KINDS, Inbox
from agent.fleet.keys import KeyService
from agent.fleet.operators import SignedCommand
from agent.schema.blocks import BlockReply
from agent.schema.config import BrokerConfig
from agent.schema.document import to_json
from agent.schema.messages import MESSAGE_VERSION, Hint, KeyReply, Reply
from agent.schema.topics import DeviceTopics, ParsedTopic, parse

log = logging.getLogger(__name__)

_FILTERS = (
    ("state", 1),
    ("reply", 1),
    ("telemetry", 0),
    ("event/#", 1),
    ("detections/#", 0),
    ("blk/req", 0),
    ("key/req", 1),
)
_WORKERS = 4
_WAITING = 64  # requests in hand before further ones are told to come back


class Controller:
    """One controller on one broker.

    Args:
        broker: Where the broker is; the certificate's common name must be `controller`.
        keys: Answers key requests.
        blocks: Answers block requests.
    """

    def __init__(self, broker: BrokerConfig, keys: KeyService, blocks: BlockServer) -> None:
        self.inbox = Inbox()
        self._prefix = broker.prefix
        self._keys = keys
        self._blocks = blocks
        self._places = threading.BoundedSemaphore(_WAITING)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="vigil-serve")
        filters = [(f"{broker.prefix}/d/+/{leaf}", qos) for leaf, qos in _FILTERS]
        self._connection = Connection(broker, filters, self._receive)

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

    def send(self, command: SignedCommand, audience: str) -> None:
        """Relay a signed command to `d/<device>` or `g/<group>`.

        Raises:
            CommandError: The audience is neither.
        """
        kind, _, name = audience.partition("/")
        if kind not in {"d", "g"} or not name:
            message = f"audience: expected d/<device> or g/<group>, found {audience!r}"
            raise CommandError(message, code="command.audience")
        self._connection.publish(f"{self._prefix}/{kind}/{name}/cmd", command.envelope)

    def ask(self, command: SignedCommand, device: str, timeout_s: float = 30.0) -> Reply:
        """Relay a command to one device and wait until it has succeeded or failed.

        Raises:
            TransferError: No final reply came in time.
        """
        self.send(command, f"d/{device}")
        return self.inbox.wait_reply(command.id, timeout_s, device)

    def hint(self, timestamp_version: int) -> None:
        """Tell all devices (retained) that newer metadata may exist."""
        hint = Hint(v=MESSAGE_VERSION, timestamp_version=timestamp_version)
        self._connection.publish(f"{self._prefix}/hint", to_json(hint), retain=True)

    # network thread --------------------------------------------------------------------------------

    def _receive(self, topic: str, payload: bytes) -> None:
        parsed = parse(topic, self._prefix)
        if parsed is None:
            return
        if parsed.leaf in KINDS:
            self.inbox.put(parsed, payload)
        elif parsed.leaf == "blk/req":
            self._serve(parsed, payload, self._send_block, self._refuse_block)
        elif parsed.leaf == "key/req":
            self._serve(parsed, payload, self._send_key, self._refuse_key)

    def _serve(
        self,
        topic: ParsedTopic,
        payload: bytes,
        answer: Callable[[str, bytes], None],
        refuse: Callable[[str, bytes], None],
    ) -> None:
        if not self._places.acquire(blocking=False):
            refuse(topic.device, payload)
            return
        future = self._pool.submit(self._answer, answer, topic, payload)
        future.add_done_callback(lambda _: self._places.release())

    # worker threads --------------------------------------------------------------------------------

    def _answer(
        self, answer: Callable[[str, bytes], None], topic: ParsedTopic, payload: bytes
    ) -> None:
        try:
            answer(topic.device, payload)
        except VigilError as error:
            log.warning("%s of %s not answered: %s", topic.leaf, topic.device, error)
        except Exception:
            log.exception("%s of %s not answered", topic.leaf, topic.device)

    def _send_block(self, device: str, payload: bytes) -> None:
        self._put_block(device, self._blocks.answer(device, payload))

    def _refuse_block(self, device: str, payload: bytes) -> None:
        request = block_service.read_request(payload)
        if request is not None:
            self._put_block(device, block_service.busy(bytes.fromhex(request.id)))

    def _put_block(self, device: str, reply: BlockReply) -> None:
        # QoS 0: the device asks again for what got lost, the broker need not keep a copy.
        topic = DeviceTopics(device, self._prefix).leaf("blk/rsp")
        self._connection.publish(topic, reply.encode(), qos=0)

    def _send_key(self, device: str, payload: bytes) -> None:
        self._put_key(device, self._keys.answer(device, payload))

    def _refuse_key(self, device: str, payload: bytes) -> None:
        self._put_key(device, key_service.busy(payload))

    def _put_key(self, device: str, reply: KeyReply) -> None:
        topic = DeviceTopics(device, self._prefix).leaf("key/rsp")
        self._connection.publish(topic, to_json(reply))
