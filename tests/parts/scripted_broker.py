"""A broker that misbehaves as told: MQTT 5 over plain TCP, one thread per connection.

with ScriptedBroker(Habits(acknowledges=False)) as broker:
    link = Link(broker.settings, TOPICS)
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import Self

from agent.schema.config import BrokerConfig

_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _PINGREQ = 1, 3, 4, 8, 9, 12
_CONNACK = b"\x20\x03\x00\x00\x00"
_PINGRESP = b"\xd0\x00"
GRANTED, REFUSED = 1, 0x87


def grant(count: int) -> bytes:
    """What an honest broker says to a subscription for `count` topics."""
    return bytes([GRANTED] * count)


@dataclass(frozen=True)
class Habits:
    """How it behaves.

    Attributes:
        acknowledges: Whether it answers PUBLISH.
        granted: The reason codes of a SUBACK for so many topics; None for no SUBACK.
        packet_shift: Added to the packet id of every SUBACK.
        patience: How many PUBLISH it takes before it closes the connection.
        alien: Sent right after every SUBACK.
    """

    acknowledges: bool = True
    granted: Callable[[int], bytes | None] = grant
    packet_shift: int = 0
    patience: int = 1_000_000
    alien: bytes = b""


class ScriptedBroker:
    """Listens on a free port of the loopback interface until closed.

    Attributes:
        taken: Payloads of every PUBLISH it read.
        connections: How many CONNECT it answered.
    """

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self.taken: list[bytes] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for peer in self._peers:
            peer.close()

    @property
    def settings(self) -> BrokerConfig:
        """How a device reaches it."""
        port = self._server.getsockname()[1]
        return BrokerConfig(host="127.0.0.1", port=port, protocol="5", allow_plaintext=True)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        stream, left = peer.makefile("rwb"), self.habits.patience
        try:
            while left > 0:
                kind, flags, body = _read(stream)
                left -= kind == _PUBLISH
                if left > 0 or kind != _PUBLISH:
                    stream.write(self._answer(kind, flags, body))
                    stream.flush()
        except (OSError, EOFError):
            pass
        finally:
            peer.shutdown(socket.SHUT_RDWR)
            peer.close()

    def _answer(self, kind: int, flags: int, body: bytes) -> bytes:
        if kind == _CONNECT:
            self.connections += 1
            return _CONNACK
        if kind == _PINGREQ:
            return _PINGRESP
        if kind == _SUBSCRIBE:
            return self._grant(body) + self.habits.alien
        return self._take(flags, body) if kind == _PUBLISH else b""

    def _grant(self, body: bytes) -> bytes:
        (packet,) = struct.unpack_from(">H", body)
        count, position = 0, 3 + body[2]
        while position < len(body):
            position += 3 + int.from_bytes(body[position : position + 2], "big")
            count += 1
        codes = self.habits.granted(count)
        if codes is None:
            return b""
        packet += self.habits.packet_shift
        return struct.pack(">BBHB", _SUBACK << 4, 3 + len(codes), packet, 0) + codes

    def _take(self, flags: int, body: bytes) -> bytes:
        position = 2 + int.from_bytes(body[:2], "big")
        packet = body[position : position + 2]
        acknowledged = bool(flags & 6)
        position += 2 if acknowledged else 0
        self.taken.append(body[position + 1 + body[position] :])
        if not acknowledged or not self.habits.acknowledges:
            return b""
        return bytes([_PUBACK << 4, 2]) + packet


def _read(stream: Any) -> tuple[int, int, bytes]:
    """Read one packet: its type, flags and body (MQTT 5, section 2.1)."""
    first = _exactly(stream, 1)[0]
    length = shift = 0
    while True:
        byte = _exactly(stream, 1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first >> 4, first & 0x0F, _exactly(stream, length)


def _exactly(stream: Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
