"""The other side of the `blk` and `key` channels, in process: honest by default, scripted to misbehave.

Time is the script's: a channel with a `FakeClock` moves it on when there is nothing to receive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.errors import TransferError
from agent.schema.blocks import BUSY, NOT_FOUND, OK, BlockReply, BlockRequest
from agent.schema.document import parse_json, to_json
from agent.schema.messages import KeyReply, KeyRequest
from agent.trust.grant import wrap

Fault = Callable[[BlockRequest, BlockReply], list[bytes]]


@dataclass
class FakeClock:
    """Seconds that pass only when somebody waits."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@dataclass
class BlockChannel:
    """A block server behind a channel.

    Attributes:
        files: Published files by path.
        faults: Each is used for one request, in order; then the server is honest.
        is_offline: `send` raises.
    """

    files: Mapping[str, bytes]
    clock: FakeClock = field(default_factory=FakeClock)
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    is_offline: bool = False
    generation: int = 1
    requests: list[BlockRequest] = field(default_factory=list)
    responses: deque[bytes] = field(default_factory=deque)

    def send(self, body: bytes) -> None:
        if self.is_offline:
            raise TransferError("offline", code="transfer.offline")
        request = parse_json(body, BlockRequest)
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else self.always
        reply = self.honest(request)
        self.responses.extend(fault(request, reply) if fault else [reply.encode()])

    def receive(self, timeout_s: float) -> bytes | None:
        if self.responses:
            return self.responses.popleft()
        self.clock.wait(timeout_s)
        return None

    def honest(self, request: BlockRequest) -> BlockReply:
        identity, data = bytes.fromhex(request.id), self.files.get(request.p)
        if data is None:
            return BlockReply(identity, NOT_FOUND, request.o, 0, b"")
        return BlockReply(
            identity, OK, request.o, len(data), data[request.o : request.o + request.l]
        )

    def reconnect(self) -> None:
        """Lose what is under way, as a restarted broker does."""
        self.responses.clear()
        self.generation += 1


def busy(retry_after_ms: int) -> Fault:
    return lambda request, _reply: [
        BlockReply(bytes.fromhex(request.id), BUSY, request.o, retry_after_ms, b"").encode()
    ]


def silent(request: BlockRequest, reply: BlockReply) -> list[bytes]:
    return []


def twice(request: BlockRequest, reply: BlockReply) -> list[bytes]:
    return [reply.encode()] * 2


@dataclass
class KeyChannel:
    """A key service behind a channel: wraps the keys it knows to one device.

    Attributes:
        deks: Key of each release id.
        public_bytes: The device's registered public key.
        status: Answer with this status instead of a grant.
        change: Applied to every grant that is given.
        is_silent: Answer nothing.
    """

    public_bytes: bytes
    device: str = "cam-1"
    device_class: str = "pi5"
    deks: dict[str, bytes] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    status: int = 200
    change: Callable[[bytes], bytes] = bytes
    is_silent: bool = False
    generation: int = 1
    requests: list[KeyRequest] = field(default_factory=list)
    responses: deque[bytes] = field(default_factory=deque)

    def send(self, body: bytes) -> None:
        request = parse_json(body, KeyRequest)
        self.requests.append(request)
        if not self.is_silent:
            self.responses.append(to_json(self._reply(request)))

    def receive(self, timeout_s: float) -> bytes | None:
        if self.responses:
            return self.responses.popleft()
        self.clock.wait(timeout_s)
        return None

    def _reply(self, request: KeyRequest) -> KeyReply:
        if self.status != 200:
            return KeyReply(v=1, id=request.id, status=self.status)
        dek = self.deks[request.release]
        grant = wrap(dek, self.public_bytes, request.release, self.device_class, self.device)
        return KeyReply(v=1, id=request.id, status=200, grant=self.change(grant))
