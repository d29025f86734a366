"""Speeds of an update's parts beside what they are measured against, in one run.

    PYTHONPATH=. python scripts/comparison/updates.py [MB]

Opening a sealed file against plain AES-GCM `decrypt_into` of the same bytes into a buffer that is there; fetching
through TUF and block digests to a synced file over HTTP on loopback. Best of the rounds, taken in turn.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.host.disk import REAL_DISK
from agent.schema.blocks import BLOCK_BYTES
from agent.schema.messages import Progress
from agent.trust.sealed import open_sealed, seal
from agent.update.fetch import fetch_file
from agent.update.sources.failover import FailoverSource
from agent.update.sources.https import HttpsSource
from agent.update.targets import Target
from tests.parts.web_server import WebServer

ROUNDS = 7
DEK, RELEASE = bytes(range(32)), "bench/model/1"


def target_of(data: bytes) -> Target:
    """Describe `data` as the repository would."""
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    digests = tuple(hashlib.sha256(block).hexdigest() for block in blocks)
    return Target("a/b", len(data), hashlib.sha256(data).hexdigest(), BLOCK_BYTES, digests)


def measures(data: bytes, server: WebServer, folder: Path) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name."""
    sealed, aead, nonce = seal(data, DEK, RELEASE), AESGCM(DEK), bytes(12)
    plain, whole = bytearray(len(data)), aead.encrypt(nonce, data, None)
    target = target_of(sealed)
    server.files[target.location] = sealed
    source = FailoverSource([HttpsSource(server.url)])

    def raw() -> None:
        aead.decrypt_into(nonce, whole, None, plain)

    def sealed_open() -> None:
        os.close(open_sealed(sealed, DEK, RELEASE))

    def fetch() -> None:
        (folder / "blob").unlink(missing_ok=True)
        fetch_file(source, target, folder / "part", folder / "blob", REAL_DISK, _quiet)

    return {
        "AES-GCM decrypt_into": raw,
        "open into a cold memfd": sealed_open,
        "fetch by HTTP": fetch,
    }


def _quiet(_progress: Progress) -> None:
    pass


def main() -> None:
    """Measure and print."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 12.6) * 1e6)
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, WebServer({}) as server:
        named = measures(os.urandom(size), server, Path(folder))
        for _ in range(ROUNDS):
            for name, work in named.items():
                began = time.perf_counter()
                work()
                best[name] = min(best.get(name, 1e9), time.perf_counter() - began)
    base = best["AES-GCM decrypt_into"]
    print(f"{size / 1e6:.1f} MB, best of {ROUNDS}, load {os.getloadavg()[0]:.1f}")
    for name, seconds in best.items():
        print(f"{name:24} {size / seconds / 1e6:8.0f} MB/s   {base / seconds:5.2f} x decrypt_into")


if __name__ == "__main__":
    main()
