"""Speeds of an update's parts beside what they are made of, in one run.

    PYTHONPATH=. python scripts/comparison/updates.py [MB]

Opening a sealed file, and fetching one through TUF and block digests to a synced file: from a web server and from the
controller's block server behind mosquitto, both in processes of their own on loopback. Beside them what no
program can leave out: the cipher, fresh memory, the digest, the disk, the road. Best of the rounds, taken in turn.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.control.link import Link
from agent.host.disk import REAL_DISK
from agent.host.memfd import create_memfd, write_memfd
from agent.schema.blocks import BLOCK_BYTES
from agent.schema.config import BrokerConfig
from agent.schema.messages import Progress
from agent.schema.topics import DeviceTopics
from agent.trust.floor import Floor
from agent.trust.sealed import CHUNK_BYTES, open_sealed, seal
from agent.update.fetch import fetch_file
from agent.update.ports import Source
from agent.update.sources.blocks import BlockSource
from agent.update.sources.failover import FailoverSource
from agent.update.sources.https import HttpsSource
from agent.update.targets import Target
from agent.update.trust_client import TrustClient
from tests.parts.block_desk import Desk
from tests.parts.broker import Broker
from tests.parts.puller import DEVICE
from tests.parts.signed_repository import DEVICE_CLASS, SignedRepository, location
from tests.parts.web_server import WebServer

ROUNDS = 7
DEK, RELEASE = bytes(range(32)), "bench/model/1"
PATH = f"models/{DEVICE_CLASS}/bench/1/model.sealed"


@dataclass(frozen=True)
class Published:
    """A repository with one large file, as servers and devices know it."""

    repository: SignedRepository
    public: Path
    location: str
    sha256: str


def publish(sealed: bytes, folder: Path) -> Published:
    """Write a signed repository below `folder`."""
    repository = SignedRepository()
    repository.enter(DEVICE_CLASS, PATH, sealed, BLOCK_BYTES)
    repository.publish()
    for name, data in repository.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    target = repository.delegated[DEVICE_CLASS].targets[PATH]
    return Published(repository, folder, location(target), target.hashes["sha256"])


def _serve_web(files: dict[str, bytes], told: Connection) -> None:
    with WebServer(files) as server:
        told.send(server.url)
        told.recv()


def _serve_blocks(port: int, public: Path, told: Connection) -> None:
    desk = Desk(port, public)
    told.send("")
    told.recv()
    desk.close()


@contextlib.contextmanager
def _process(work: Callable[[Connection], None]) -> Iterator[str]:
    """Run a server in a process of its own; yields what it says when it is ready."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(theirs,))
    process.start()
    yield ours.recv()
    ours.send("stop")
    process.join()


@contextlib.contextmanager
def roads(published: Published, folder: Path) -> Iterator[dict[str, Source]]:
    """Start servers, broker and the device's link; yields the roads by name."""
    broker = Broker(folder / "broker")
    broker.start()
    config = BrokerConfig(host=broker.host, port=broker.port, protocol="5", allow_plaintext=True)
    with (
        _process(partial(_serve_web, published.repository.files)) as url,
        _process(partial(_serve_blocks, broker.port, published.public)),
    ):
        link = Link(config, DeviceTopics(DEVICE))
        blocks = BlockSource(link.channel("blk"))
        link.start()
        try:
            yield {"HTTP": HttpsSource(url), "MQTT": blocks}
        finally:
            link.stop(1.0)
            broker.stop()


def alone(source: Source, published: Published) -> None:
    """Let the bytes come over a road and drop them."""
    for _ in source.read(published.location, 0):
        pass


def trust(source: Source, published: Published, place: Path) -> Target:
    """Fetch and verify all metadata, with nothing cached; return the file's description."""
    floor, root = Floor(place / "floor"), published.repository.root_bytes
    trusted = TrustClient(place, root, floor, DEVICE_CLASS).check(source)
    return trusted.file(PATH, published.sha256)


def metadata(source: Source, published: Published, folder: Path) -> None:
    """Do the first part of a fetch only."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        trust(source, published, Path(name))


def fetch(source: Source, published: Published, folder: Path) -> None:
    """Do what a device does, from a cold cache of metadata on."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        target, road = trust(source, published, place), FailoverSource([source])
        fetch_file(road, target, place / "part", place / "blob", REAL_DISK, _quiet)


def fill_memfd(data: bytes) -> None:
    """Write fresh sealed memory in pieces of a container's chunk."""
    fd = create_memfd("bench", len(data))
    with memoryview(data) as view:
        for at in range(0, len(data), CHUNK_BYTES):
            write_memfd(fd, view[at : at + CHUNK_BYTES], at)
    os.close(fd)


def write_synced(data: bytes, folder: Path) -> None:
    """Write a new file and sync it once."""
    path = folder / "plain"
    path.unlink(missing_ok=True)
    with path.open("wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())


def measures(
    data: bytes, folder: Path, stack: contextlib.ExitStack
) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name."""
    sealed, aead, nonce = seal(data, DEK, RELEASE), AESGCM(DEK), bytes(12)
    plain, whole = bytearray(len(data)), aead.encrypt(nonce, data, None)
    published = publish(sealed, folder / "public")
    found = stack.enter_context(roads(published, folder))
    named: dict[str, Callable[[], None]] = {
        "AES-GCM decrypt_into, warm": lambda: void(aead.decrypt_into(nonce, whole, None, plain)),
        "fill a cold memfd": lambda: fill_memfd(data),
        "open into a cold memfd": lambda: os.close(open_sealed(sealed, DEK, RELEASE)),
        "SHA-256": lambda: void(hashlib.sha256(sealed).digest()),
        "write and fsync": lambda: write_synced(sealed, folder),
    }
    for name, source in found.items():
        named[f"{name} road alone"] = partial(alone, source, published)
        named[f"metadata by {name}"] = partial(metadata, source, published, folder)
        named[f"fetch by {name}"] = partial(fetch, source, published, folder)
    return named


def void(_result: object) -> None:
    """Drop a result."""


def _quiet(_progress: Progress) -> None:
    pass


def least_seconds(best: dict[str, float], road: str) -> float:
    """Return what a fetch takes that does one thing after the other: metadata, road, two digests, disk."""
    road_s = best[f"metadata by {road}"] + best[f"{road} road alone"]
    return road_s + 2 * best["SHA-256"] + best["write and fsync"]


def main() -> None:
    """Measure and print."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 12.6) * 1e6)
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        named = measures(os.urandom(size), Path(name), stack)
        for _ in range(ROUNDS):
            for what, work in named.items():
                began = time.perf_counter()
                work()
                best[what] = min(best.get(what, 1e9), time.perf_counter() - began)
    yardsticks = {
        "open into a cold memfd": best["AES-GCM decrypt_into, warm"] + best["fill a cold memfd"],
        "fetch by HTTP": least_seconds(best, "HTTP"),
        "fetch by MQTT": least_seconds(best, "MQTT"),
    }
    print(f"{size / 1e6:.1f} MB, best of {ROUNDS}, load {os.getloadavg()[0]:.1f}")
    for what, seconds in best.items():
        beside = f"{yardsticks[what] / seconds:6.2f} x its parts" if what in yardsticks else ""
        rate = "" if what.startswith("metadata") else f"{size / seconds / 1e6:6.0f} MB/s"
        print(f"{what:26} {seconds * 1e3:8.1f} ms {rate:>12} {beside}".rstrip())


if __name__ == "__main__":
    main()
