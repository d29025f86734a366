"""How light devices fetch a release: over the device's own roads, HTTPS first and block pull over MQTT where that fails."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypedDict

from agent.errors import TransferError
from agent.update.ports import Source
from agent.update.sources.blocks import BlockSource
from agent.update.sources.failover import FailoverSource
from agent.update.sources.https import HttpsSource

_AT_ONCE = 12  # devices of one process; the others wait their turn
_NOWHERE = "https://127.0.0.1:1/"


class File(TypedDict):
    """One file of the repository: where it lies and its digest."""

    path: str
    sha256: str


class Shop(TypedDict):
    """Where a release is and which files a device fetches for it, metadata first.

    `mqtt_percent` of the devices, all over the fleet, reach no web server.
    """

    url: str
    ca: str
    files: list[File]
    mqtt_percent: int


@dataclass(frozen=True)
class Fetched:
    """Bytes that came over each road."""

    https_bytes: int
    mqtt_bytes: int


class BlockChannel:
    """The `Channel` of a device's block requests, between a fetching thread and the event loop.

    Args:
        ask: Sends a request; called in the event loop.
    """

    def __init__(self, ask: Callable[[bytes], None]) -> None:
        self.generation = 0
        self._loop = asyncio.get_running_loop()
        self._ask = ask
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def answered(self, payload: bytes) -> None:
        """Take in what the controller sent."""
        self._answers.put(payload)

    def send(self, body: bytes) -> None:
        """Send a request; what is lost is asked again."""
        self._loop.call_soon_threadsafe(self._ask, body)

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next answer, or None when there was none for so long."""
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None


class Fetcher:
    """Fetches for every device of one process, a few at a time."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._context = ssl.create_default_context(cafile=shop["ca"])
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")

    async def fetch(self, number: int, channel: BlockChannel) -> Fetched:
        """Fetch and check all files for the device of this number.

        Raises:
            TransferError: No road brought them.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._fetch, number, channel)

    def _fetch(self, number: int, channel: BlockChannel) -> Fetched:
        is_cut_off = number * 37 % 100 < self._shop["mqtt_percent"]
        url = _NOWHERE if is_cut_off else self._shop["url"]
        https = _Counted(HttpsSource(url, self._context))
        mqtt = _Counted(BlockSource(channel))
        road = FailoverSource([https, mqtt])
        for file in self._shop["files"]:
            digest = hashlib.sha256()
            for data in road.read(file["path"], 0):
                digest.update(data)
            if digest.hexdigest() != file["sha256"]:
                raise TransferError(f"{file['path']}: other bytes than published")
        return Fetched(https.bytes, mqtt.bytes)


class _Counted:
    """A source that counts what it brought."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.bytes = 0

    def read(self, path: str, start: int) -> Iterator[bytes]:
        for data in self._source.read(path, start):
            self.bytes += len(data)
            yield data
