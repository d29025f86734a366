"""A light device: state, telemetry, commands and replies as a real one sends them, without cameras and a model."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import wire

from agent.control.link.dialling import Ending, first_dial
from agent.host.clock import wall_ms
from agent.schema.document import to_json
from agent.schema.messages import Reply, ReplyStatus, State, Telemetry
from agent.schema.topics import DeviceTopics

KEEPALIVE_S = 60
_CALM_S = 10.0  # a connection that lasted so long clears the memory of failures


@dataclass
class Tally:
    """What a crowd of devices did."""

    connected: int = 0
    connections: int = 0
    states: int = 0
    measurements: int = 0
    waiting: int = 0
    commands: int = 0


@dataclass
class Broker:
    """Where the broker is, and how to show a certificate; `context` is None for plain text."""

    host: str
    port: int
    context: Callable[[str], ssl.SSLContext | None]


@dataclass
class LightDevice(asyncio.Protocol):
    """One device; `run` connects it and keeps it reporting until it is cancelled.

    Attributes:
        interval_s: Between two states and two measurements; they go on in the broker's absence and are kept.
        reporting: Cleared to let the device finish what is unacknowledged and say no more.
    """

    name: str
    broker: Broker
    interval_s: float
    reporting: asyncio.Event
    tally: Tally
    _unacknowledged: dict[int, bytes] = field(default_factory=dict)
    _transport: asyncio.Transport | None = None
    _last_number: int = 0
    _seq: int = 0

    def __post_init__(self) -> None:
        self._topics = DeviceTopics(self.name)
        self._gone = asyncio.Event()
        self._accepted = False

    async def run(self) -> None:
        """Connect, report, and connect again as the device's own rules say."""
        reports = asyncio.create_task(self._report())
        dial, loop = first_dial("3.1.1"), asyncio.get_running_loop()
        try:
            while True:
                started_s, ending = loop.time(), Ending.LOST
                try:
                    await self._stay_connected()
                except OSError:
                    ending = Ending.UNREACHABLE
                dial = dial.ended(ending, loop.time() - started_s)
                await asyncio.sleep(dial.wait_s(ending, random.random()))  # noqa: S311 - no secret
        finally:
            reports.cancel()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        self._gone.clear()
        self._reader = wire.Reader()
        context = self.broker.context(self.name)
        await loop.create_connection(
            lambda: self,
            self.broker.host,
            self.broker.port,
            ssl=context,
            server_hostname=self.broker.host if context else None,
            ssl_handshake_timeout=120 if context else None,
        )
        while not self._gone.is_set():
            try:
                await asyncio.wait_for(self._gone.wait(), KEEPALIVE_S / 2)
            except asyncio.TimeoutError:
                self._write(wire.PING)

    async def _report(self) -> None:
        await asyncio.sleep(self.interval_s * random.random())  # noqa: S311 - no secret
        while True:
            await self.reporting.wait()
            self._say(self._topics.state, self._state(), retain=True)
            self._say(self._topics.telemetry, self._telemetry())
            self.tally.states += 1
            self.tally.measurements += 1
            await asyncio.sleep(self.interval_s)

    # the connection -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = cast("asyncio.Transport", transport)
        will = State(v=1, device=self.name, online=False)
        self._write(wire.connect(self.name, KEEPALIVE_S, (self._topics.state, to_json(will))))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio has it
        """Let `run` connect again."""
        self._transport = None
        if self._accepted:
            self.tally.connected -= 1
        self._accepted = False
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        """Take in what the broker sends."""
        for packet in self._reader.feed(data):
            if packet.kind == wire.CONNACK:
                self._welcomed()
            elif packet.kind == wire.PUBACK:
                number = int.from_bytes(packet.body[:2], "big")
                self.tally.waiting -= self._unacknowledged.pop(number, None) is not None
            elif packet.kind == wire.PUBLISH:
                _, number, payload = wire.read_publish(packet)
                self._write(wire.acknowledge(number))
                self._obey(payload)

    def _welcomed(self) -> None:
        self._accepted = True
        self.tally.connected += 1
        self.tally.connections += 1
        self._write(wire.subscribe(self._topics.command, self._number()))
        self._say(self._topics.state, self._state(), retain=True)
        self.tally.states += 1
        for packet in list(self._unacknowledged.values()):
            self._write(packet)

    def _obey(self, envelope: bytes) -> None:
        body = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        self.tally.commands += 1
        for status in (ReplyStatus.ACCEPTED, ReplyStatus.SUCCEEDED):
            reply = Reply(
                v=1,
                device=self.name,
                id=body["id"],
                cmd=body["cmd"],
                status=status,
                at_ms=wall_ms(),
            )
            self._say(self._topics.reply, to_json(reply))

    def _say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        number = self._number()
        packet = wire.publish(topic, payload, number, retain=retain)
        self._unacknowledged[number] = packet
        self.tally.waiting += 1
        if self._accepted:
            self._write(packet)

    def _number(self) -> int:
        self._last_number = self._last_number % 65_535 + 1
        return self._last_number

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # what it says -------------------------------------------------------------------------------------

    def _state(self) -> bytes:
        return to_json(
            State(
                v=1,
                device=self.name,
                online=True,
                agent="0.1.0",
                boot="0" * 36,
                at_ms=wall_ms(),
                release="gate/people/1.0",
                variant="onnx-fp32-320",
                profile="generic-x86-64",
                pipeline="running",
                policy_ver=1,
            )
        )

    def _telemetry(self) -> bytes:
        self._seq += 1
        return to_json(
            Telemetry(
                v=1,
                device=self.name,
                boot="0" * 36,
                at_ms=wall_ms(),
                interval_ms=int(self.interval_s * 1000),
                fps=12.5,
                stages={},
                cameras=[],
                worker_restarts=0,
                control_pss_mb=60.0,
                worker_pss_mb=180.0,
                outbox_messages=0,
                outbox_dropped=0,
                link_reconnects=0,
                temperature_c=55.0,
                seq=self._seq,
            )
        )
