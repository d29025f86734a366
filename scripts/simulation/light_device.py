"""A light device: state, telemetry, commands and replies as a real one sends them, without cameras and a model."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from dataclasses import dataclass, field
from typing import Any, cast

import wire
from address import Broker
from fetching import BlockChannel, Fetcher
from tally import Tally, end_on_fault

from agent.control.link.dialling import Ending, first_dial, refusal_pauses_s
from agent.errors import TransferError
from agent.host.clock import wall_ms
from agent.schema.document import to_json
from agent.schema.messages import Outcome, Reply, ReplyStatus, State, Telemetry, UpdateReport
from agent.schema.topics import DeviceTopics

KEEPALIVE_S = 60
# Longer than a real device's: here thousands wait for one processor, and that is not what is measured.
_HANDSHAKE_S = 120.0


@dataclass
class LightDevice(asyncio.Protocol):
    """One device; `run` connects it and keeps it reporting until it is cancelled.

    Attributes:
        interval_s: Between two states and two measurements; they go on in the broker's absence and are kept.
        reporting: Cleared to let the device finish what is unacknowledged and say no more.
        fetcher: Brings what a `deploy` command names.
    """

    name: str
    broker: Broker
    interval_s: float
    reporting: asyncio.Event
    tally: Tally
    fetcher: Fetcher | None = None
    _unacknowledged: dict[int, bytes] = field(default_factory=dict)
    _transport: asyncio.Transport | None = None
    _last_number: int = 0
    _seq: int = 0

    def __post_init__(self) -> None:
        self._topics = DeviceTopics(self.name)
        self._gone = asyncio.Event()
        self._accepted = False
        self._welcomed_s: float | None = None
        self._pauses_s = refusal_pauses_s()
        self._blocks: BlockChannel | None = None
        self._update: UpdateReport | None = None
        self._errands: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Connect, report, and connect again as the device's own rules say."""
        reports = asyncio.create_task(self._report())
        dial, loop = first_dial("3.1.1"), asyncio.get_running_loop()
        try:
            while True:
                self._welcomed_s, ending = None, Ending.LOST
                try:
                    await self._stay_connected()
                except OSError:
                    ending = Ending.UNREACHABLE
                dial = dial.ended(ending, self._lasted_s(loop.time()))
                await asyncio.sleep(dial.wait_s(ending, random.random()))  # noqa: S311 - no secret
        finally:
            reports.cancel()

    def _lasted_s(self, now_s: float) -> float:
        """From the CONNACK on: a handshake that a busy broker drew out is no connection that lasted."""
        return 0.0 if self._welcomed_s is None else now_s - self._welcomed_s

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        self._gone.clear()
        self._reader = wire.Reader()
        # First the plain connection: while the broker is away, thousands dial who need read no certificate.
        road = await self.broker.dial()
        context = self.broker.context(self.name)
        transport, _ = await loop.create_connection(
            lambda: self,
            sock=road,
            ssl=context,
            server_hostname=self.broker.host if context else None,
            ssl_handshake_timeout=_HANDSHAKE_S if context else None,
        )
        while not self._gone.is_set():
            try:
                await asyncio.wait_for(self._gone.wait(), KEEPALIVE_S / 2)
            except asyncio.TimeoutError:
                if self._accepted:
                    self._write(wire.PING)
                else:
                    transport.abort()

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
            elif packet.kind == wire.SUBACK:
                if wire.REFUSED in packet.body[2:]:
                    self.tally.refused += 1
                    asyncio.get_running_loop().call_later(next(self._pauses_s), self._subscribe)
            elif packet.kind == wire.PUBLISH:
                topic, number, payload = wire.read_publish(packet)
                if number:
                    self._write(wire.acknowledge(number))
                if topic == self._topics.command:
                    self._obey(payload)
                elif self._blocks is not None:
                    self._blocks.answered(payload)

    def _welcomed(self) -> None:
        self._accepted = True
        self._welcomed_s = asyncio.get_running_loop().time()
        self._pauses_s = refusal_pauses_s()
        self.tally.connected += 1
        self.tally.connections += 1
        self._subscribe()
        if self._blocks is not None:
            self._blocks.generation += 1
        for packet in self._unacknowledged.values():
            self._write(wire.again(packet))
        self._say(self._topics.state, self._state(), retain=True)
        self.tally.states += 1

    def _subscribe(self) -> None:
        if self._accepted:
            for topic, qos in ((self._topics.command, 1), (self._topics.leaf("blk/rsp"), 0)):
                self._write(wire.subscribe(topic, self._number(), qos))

    def _obey(self, envelope: bytes) -> None:
        body = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        self.tally.commands += 1
        if body["cmd"] != "deploy" or self.fetcher is None:
            self._reply(body, ReplyStatus.ACCEPTED)
            self._reply(body, ReplyStatus.SUCCEEDED)
        elif body["id"] not in self._errands:
            self._reply(body, ReplyStatus.ACCEPTED)
            errand = asyncio.create_task(self._install(body, self.fetcher))
            errand.add_done_callback(end_on_fault)
            self._errands[body["id"]] = errand

    async def _install(self, body: dict[str, Any], fetcher: Fetcher) -> None:
        """Fetch a release, and say that it runs: light devices have nothing to try it on."""
        self._blocks = BlockChannel(self._ask)
        try:
            fetched = await fetcher.fetch(int(self.name.rpartition("-")[2]), self._blocks)
        except TransferError as error:
            self.tally.failed += 1
            self._reply(body, ReplyStatus.FAILED, error.code)
            return
        finally:
            self._blocks = None
        self.tally.installed += 1
        self.tally.https_bytes += fetched.https_bytes
        self.tally.mqtt_bytes += fetched.mqtt_bytes
        self.tally.by_mqtt += fetched.mqtt_bytes > 0
        path = body["args"]["release"]
        self._update = UpdateReport(
            release=path, path=path, outcome=Outcome.COMMITTED, at_ms=wall_ms()
        )
        self._reply(body, ReplyStatus.SUCCEEDED)
        self._say(self._topics.state, self._state(), retain=True)
        self.tally.states += 1

    def _ask(self, request: bytes) -> None:
        self._write(wire.mention(self._topics.leaf("blk/req"), request))

    def _reply(self, body: dict[str, Any], status: ReplyStatus, code: str = "") -> None:
        reply = Reply(
            v=1,
            device=self.name,
            id=body["id"],
            cmd=body["cmd"],
            status=status,
            at_ms=wall_ms(),
            code=code,
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
                last_update=self._update,
                pipeline="running",
                policy_ver=1,
                interval_ms=int(self.interval_s * 1000),
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
