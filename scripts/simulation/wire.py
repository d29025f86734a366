"""As much of MQTT 3.1.1 as a light device speaks: packets out as bytes, packets in from a stream of bytes.

https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html. A thousand clients of a whole library would
measure that library; the controller and the broker under test are the real ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
PING, GOODBYE = b"\xc0\x00", b"\xe0\x00"
REFUSED = 0x80  # in a SUBACK
_CONNECT, _SUBSCRIBE = 0x10, 0x82
_WILL_QOS_1_RETAINED = 0x04 | 0x08 | 0x20


@dataclass(frozen=True)
class Packet:
    """One packet: its kind, the flags of its first byte and what follows the length."""

    kind: int
    flags: int
    body: bytes


def connect(client: str, keepalive_s: int, will: tuple[str, bytes]) -> bytes:
    """Return a CONNECT that takes up an earlier session, with a retained last will at QoS 1."""
    head = _text("MQTT") + bytes([4, _WILL_QOS_1_RETAINED]) + struct.pack(">H", keepalive_s)
    topic, message = will
    return _packet(_CONNECT, head + _text(client) + _text(topic) + _data(message))


def publish(topic: str, payload: bytes, number: int, *, retain: bool = False) -> bytes:
    """Return a PUBLISH at QoS 1."""
    return _packet(0x32 | retain, _text(topic) + struct.pack(">H", number) + payload)


def mention(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH at QoS 0."""
    return _packet(0x30, _text(topic) + payload)


def again(packet: bytes) -> bytes:
    """Return a PUBLISH that was sent before, marked as such."""
    return bytes([packet[0] | 0x08]) + packet[1:]


def acknowledge(number: int) -> bytes:
    """Return a PUBACK."""
    return b"\x40\x02" + struct.pack(">H", number)


def subscribe(topic: str, number: int, qos: int) -> bytes:
    """Return a SUBSCRIBE."""
    return _packet(_SUBSCRIBE, struct.pack(">H", number) + _text(topic) + bytes([qos]))


def read_publish(packet: Packet) -> tuple[str, int, bytes]:
    """Return topic, number (0 at QoS 0) and payload of a PUBLISH."""
    (length,) = struct.unpack_from(">H", packet.body)
    end = 2 + length
    topic = packet.body[2:end].decode()
    if not packet.flags & 0x06:
        return topic, 0, packet.body[end:]
    (number,) = struct.unpack_from(">H", packet.body, end)
    return topic, number, packet.body[end + 2 :]


class Reader:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take in bytes; return the packets that are now whole."""
        self._rest += data
        while (found := _first(self._rest)) is not None:
            packet, end = found
            self._rest = self._rest[end:]
            yield packet


def _first(data: bytes) -> tuple[Packet, int] | None:
    length, shift = 0, 0
    for position in range(1, min(len(data), 5)):
        length |= (data[position] & 0x7F) << shift
        shift += 7
        if not data[position] & 0x80:
            start = position + 1
            if len(data) < start + length:
                return None
            body = data[start : start + length]
            return Packet(data[0] >> 4, data[0] & 0x0F, body), start + length
    return None


def _packet(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, digit = rest >> 7, rest & 0x7F
        length += bytes([digit | 0x80 if rest else digit])
        if not rest:
            return bytes([first]) + length + body


def _text(text: str) -> bytes:
    return _data(text.encode())


def _data(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
