"""A device as a plain MQTT client with the device's certificate."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.fleet.connection import client_context
from agent.schema.config import TlsConfig
from agent.schema.document import to_json
from agent.schema.messages import Reply, ReplyStatus

WAIT_S = 30.0


class Device:
    """An MQTT client with a device's certificate."""

    def __init__(
        self,
        port: int,
        tls: TlsConfig,
        client_id: str = "cam-1",
        will: tuple[str, bytes] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.name = client_id
        self.inbox: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self.codes: queue.Queue[Any] = queue.Queue()
        self.granted: queue.Queue[Any] = queue.Queue()
        self.lost = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id)
        self.client.tls_set_context(client_context(tls))
        if will is not None:
            self.client.will_set(*will, qos=1, retain=True)
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self.codes.put(reason)
        self.client.on_disconnect = lambda *_: self.lost.set()
        self.client.on_subscribe = lambda _c, _d, _m, codes, _p: self.granted.put(codes)
        self.client.on_message = lambda _c, _d, m: self.inbox.put(
            (m.topic, bytes(m.payload), m.retain)
        )
        self.client.connect(host, port)
        self.client.loop_start()

    def accepted(self, timeout_s: float = WAIT_S) -> bool:
        try:
            return not self.codes.get(timeout=timeout_s).is_failure
        except queue.Empty:
            return False

    def subscribe(self, topic: str, qos: int = 1) -> Any:
        self.client.subscribe(topic, qos)
        return self.granted.get(timeout=WAIT_S)[0]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, 1, retain).wait_for_publish(WAIT_S)

    def reply(self, command_id: str, cmd: str, **data: Any) -> None:
        """Say that a command succeeded."""
        self.tell(command_id, cmd, ReplyStatus.SUCCEEDED, **data)

    def tell(self, command_id: str, cmd: str, status: ReplyStatus, **data: Any) -> None:
        """Say how a command does."""
        reply = Reply(
            v=1, device=self.name, id=command_id, cmd=cmd, status=status, at_ms=0, data=data
        )
        self.publish(f"vigil/1/d/{self.name}/reply", to_json(reply))

    def get(self) -> tuple[str, bytes, bool]:
        return self.inbox.get(timeout=WAIT_S)

    def silent(self, seconds: float = 0.4) -> bool:
        time.sleep(seconds)
        return self.inbox.empty()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self) -> None:
        """Lose the connection without saying goodbye."""
        self.client.reconnect_delay_set(60, 60)
        connection: Any = self.client.socket()
        connection.shutdown(2)
        self.client.loop_stop()
