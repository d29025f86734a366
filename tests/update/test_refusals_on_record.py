"""Attacks on payload, grant and transport, seen from the whole device, which bears them all one after another."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.schema.blocks import BlockReply, BlockRequest
from agent.schema.manifest import ReleaseRef
from agent.trust.ledger import Ledger
from agent.trust.stores import key_store
from agent.update.ports import Offer, Source
from agent.update.sources.blocks import BlockSource
from agent.update.sources.https import HttpsSource
from tests.parts.on_record import assert_refused, audited
from tests.parts.scripted_channels import BlockChannel, Fault, busy, silent
from tests.parts.signed_repository import BLOCK, MadeRelease, SignedRepository, make_release
from tests.parts.tokens import PIN, SoftToken
from tests.parts.update_device import RecordedReplier, UpdateDevice
from tests.parts.web_server import Answer, Handler, WebServer
from tests.trust.test_sealed import MISSHAPEN, TAMPERED, THREE_CHUNKS


class Siege:
    """A device that serves release 1; every attack has a fresh release, and the road on which its weights come.

    Attributes:
        road: Brings the weights of the next release; all else comes straight from the repository.
        change: Applied to the sealed weights before they are signed: the signers were deceived.
    """

    def __init__(self, folder: Path, server: WebServer) -> None:
        self.repository, self.server = SignedRepository(), server
        self.repository.add(make_release(1))
        self.repository.publish()
        self._counter = itertools.count(5)
        self.device = UpdateDevice(folder, self.repository, sources=[self])
        self.lift()
        self.device.start()
        assert self.device.deploy(make_release(1)).code == "committed"

    def lift(self) -> None:
        """Let everything be honest again."""
        self.road: Source = self.repository
        self.change: Callable[[bytes], bytes] | None = None
        self.device.key_channel.change = bytes

    def read(self, path: str, start: int) -> Iterator[bytes]:
        is_weights = path.endswith(WEIGHTS)
        return (self.road if is_weights else self.repository).read(path, start)

    def release(self) -> MadeRelease:
        """Publish the next release."""
        counter = next(self._counter)
        release = make_release(counter)
        if self.change:
            large = make_release(counter, size=len(THREE_CHUNKS))
            sealed = self.change(large.files[WEIGHTS])
            release = make_release(counter, size=len(THREE_CHUNKS), replaced={WEIGHTS: sealed})
        self.repository.add(release)
        self.repository.publish()
        return release


WEIGHTS = "onnx-fp32-320.sealed"
Attack = Callable[[Siege], None]


@dataclasses.dataclass
class Forger:
    """A `Source` that brings other bytes than were signed."""

    files: dict[str, bytes]
    change: Callable[[bytes], bytes]

    def read(self, path: str, start: int) -> Iterator[bytes]:
        yield self.change(self.files[path])[start:]


def payload(change: Callable[[bytes], bytes]) -> Attack:
    def attack(siege: Siege) -> None:
        siege.road = Forger(siege.repository.files, change)

    return attack


def flipped(data: bytes) -> bytes:
    place = 3 * BLOCK
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def sealed(change: Callable[[bytes], bytes]) -> Attack:
    def attack(siege: Siege) -> None:
        siege.change = change

    return attack


def point(point: bytes) -> Attack:
    def attack(siege: Siege) -> None:
        siege.device.key_channel.change = lambda grant: grant[:1] + point + grant[-48:]

    return attack


def blocks(fault: Fault, seconds: float = 0.0) -> Attack:
    """Answer every request for a block with this fault, after so many seconds."""

    def attack(siege: Siege) -> None:
        channel = BlockChannel(siege.repository.files)

        def always(request: BlockRequest, reply: BlockReply) -> list[bytes]:
            channel.clock.wait(seconds)
            return fault(request, reply)

        channel.always = always
        siege.road = BlockSource(channel, clock=channel.clock)

    return attack


def changed(**changes: Any) -> Fault:
    return lambda _request, reply: [dataclasses.replace(reply, **changes).encode()]


def growing(request: BlockRequest, reply: BlockReply) -> list[bytes]:
    return [dataclasses.replace(reply, total=reply.total + bool(request.o)).encode()]


def web(script: Answer) -> Attack:
    def attack(siege: Siege) -> None:
        siege.server.files, siege.server.script = siege.repository.files, script
        siege.road = HttpsSource(siege.server.url)

    return attack


def answer(status: int, body: bytes = b"x", **headers: str) -> Attack:
    return web(lambda handler, _data, _start: handler.answer(status, body, **headers))


def another_range(handler: Handler, data: bytes, _start: int) -> None:
    found = f"bytes 9-{len(data) - 1}/{len(data)}"
    handler.answer(206, data[9:], Content_Range=found)


def less_than_its_range(handler: Handler, data: bytes, _start: int) -> None:
    handler.answer(206, b"", Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}")


ATTACKS: list[Any] = [
    pytest.param(payload(lambda data: data[::-1]), "transfer.poisoned", id="16"),
    pytest.param(payload(lambda data: bytes(9 * len(data))), "transfer.poisoned", id="17"),
    pytest.param(payload(lambda data: data[:-1]), "transfer.poisoned", id="18"),
    pytest.param(payload(flipped), "transfer.poisoned", id="19"),
    pytest.param(
        payload(lambda data: make_release(1).files[WEIGHTS][: len(data)]),
        "transfer.poisoned",
        id="20",
    ),
    *(
        pytest.param(sealed(TAMPERED[name]), "trust.tampered", id=f"22 {name}")
        for name in ("chunks swapped", "chunk of another file")
    ),
    *(
        pytest.param(sealed(MISSHAPEN[name]), "trust.malformed", id=f"22 {name}")
        for name in ("last chunk dropped", "byte appended")
    ),
    *(
        pytest.param(sealed(MISSHAPEN[name]), "trust.malformed", id=f"24 {name}")
        for name in ("length of zero", "length beyond the file", "negative length")
    ),
    pytest.param(point(b"\4" + b"\xff" * 64), "trust.grant", id="26 off the curve"),
    pytest.param(point(b"\4" + bytes(64)), "trust.grant", id="26 zero"),
    pytest.param(blocks(changed(id=b"8 others")), "transfer.slow", id="31 unasked"),
    pytest.param(blocks(changed(offset=7)), "transfer.slow", id="32 another offset"),
    pytest.param(blocks(changed(data=bytes(200_000))), "transfer.slow", id="32 oversize"),
    pytest.param(blocks(growing), "transfer.slow", id="32 changing total"),
    pytest.param(blocks(lambda _q, _r: [b"x"]), "transfer.slow", id="32 garbage"),
    pytest.param(blocks(changed(), seconds=40.0), "transfer.slow", id="33 drip"),
    pytest.param(blocks(busy(60_000)), "transfer.deadline", id="33 later, for ever"),
    pytest.param(blocks(silent), "transfer.slow", id="34"),
    pytest.param(web(another_range), "transfer.range", id="37 range"),
    pytest.param(web(less_than_its_range), "transfer.truncated", id="37 truncated"),
    pytest.param(
        answer(302, b"", Location="http://other.example/x"), "transfer.redirect", id="37 redirect"
    ),
    pytest.param(
        answer(200, gzip.compress(b"x"), Content_Encoding="gzip"), "transfer.encoding", id="37 gzip"
    ),
    pytest.param(answer(500), "transfer.refused", id="37 500"),
    pytest.param(
        answer(200, b"<html>log in", Content_Type="text/html"), "transfer.not_a_file", id="37 page"
    ),
]


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Siege, Ledger]]:
    folder = tmp_path_factory.mktemp("besieged")
    with WebServer({}) as server:
        siege = Siege(folder, server)
        with audited(siege.device, folder) as ledger:
            yield siege, ledger


@pytest.mark.parametrize(("attack", "code"), ATTACKS)
def test_what_comes_wrong_moves_nothing_and_leaves_a_row(
    besieged: tuple[Siege, Ledger], attack: Attack, code: str
) -> None:
    siege, ledger = besieged
    siege.lift()
    attack(siege)
    bait = siege.release()
    assert_refused(siege.device, ledger, lambda: siege.device.deploy(bait).code, code)
    assert (siege.device.current.version, siege.device.floor.counter) == ("1.1", 1)
    assert siege.device.plaintext(siege.device.current) == make_release(1).plaintext


def test_14_a_strange_path_moves_nothing_and_leaves_a_row(
    device: UpdateDevice, ledger: Ledger
) -> None:
    def offer() -> str:
        replier = RecordedReplier()
        ref = ReleaseRef(path="models/pi5/../../etc/passwd", sha256="a" * 64)
        device.updater.submit(Offer(ref, "command-1"), replier)
        device.updater.work()
        return replier.code

    assert_refused(device, ledger, offer, "trust.path")


def test_27_a_token_that_cannot_be_used_moves_nothing_and_leaves_a_row(
    repository: SignedRepository, tmp_path: Path, soft_token: SoftToken
) -> None:
    key = key_store(soft_token.config).create()
    first = UpdateDevice(tmp_path, repository, key=key)
    first.key_channel.public_bytes = key.public_bytes
    first.start()
    assert first.deploy(make_release(1)).code == "committed"
    device = UpdateDevice(tmp_path, repository, key=key_store(soft_token.config).open())
    device.key_channel.public_bytes = key.public_bytes
    device.start()

    def deploy() -> str:
        return device.deploy(make_release(2)).code

    with audited(device, tmp_path) as ledger:
        soft_token.write_pin("wrong-pin")
        assert_refused(device, ledger, deploy, "key.pin_wrong")
        soft_token.write_pin(PIN)
        soft_token.pull_out()
        assert_refused(device, ledger, deploy, "key.token_missing")
