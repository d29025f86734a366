"""The controller's block server behind a real broker, for one device."""

from __future__ import annotations

import hashlib
import secrets
import sys
import threading
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.fleet.blocks import BlockServer
from agent.schema.blocks import BLOCK_BYTES
from agent.schema.topics import DeviceTopics
from agent.update.targets import Target
from tests.parts.puller import DEVICE

TOPICS = DeviceTopics(DEVICE)


def published(public: Path, data: bytes) -> Target:
    """Put a file where a block server finds it, and return what signed metadata would say of it."""
    pieces = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    blocks = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
    target = Target("a/b", len(data), hashlib.sha256(data).hexdigest(), BLOCK_BYTES, blocks)
    file = public / target.location
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return target


class Desk:
    """The block server behind a broker.

    Attributes:
        served: The offsets it gave, in order.
        ends_at: It is deaf to requests for this offset and those after it.
    """

    def __init__(self, port: int, public: Path) -> None:
        self.served: list[int] = []
        self.ends_at = sys.maxsize
        self._server = BlockServer(public)
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"desk-{secrets.token_hex(4)}")
        self._client.on_connect = lambda client, *_: client.subscribe(f"{TOPICS.leaf('blk/req')}")
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._answer
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port, 30)
        self._client.loop_start()
        assert self._ready.wait(60)

    def _answer(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        reply = self._server.answer(DEVICE, bytes(message.payload))
        if reply.offset >= self.ends_at:
            return
        if reply.data:
            self.served.append(reply.offset)
        client.publish(TOPICS.leaf("blk/rsp"), reply.encode())

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
