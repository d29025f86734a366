"""The controller's block server behind a real broker, for one device."""

from __future__ import annotations

import secrets
import sys
import threading
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.fleet.blocks import BlockServer
from agent.schema.topics import DeviceTopics
from tests.parts.puller import DEVICE

TOPICS = DeviceTopics(DEVICE)


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
