"""Files over HTTP with Range requests.

Rules (UPDATE_NOTES 5.3)
- From byte 0: 200, or 206 that begins there. From any other byte: only 206 whose Content-Range begins there.
- No compression, no redirect to another host, no web page in place of a file (captive portals).
- Fewer bytes than announced is an error, and so is a road slower than the minimum rate.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from agent.errors import TransferError
from agent.update.pace import Clock, Pace, PaceLimits

CHUNK_BYTES = 128 * 1024
MAX_REDIRECTS = 3
_OK, _PARTIAL = 200, 206
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({403, 404, 410})  # object stores answer 403 for a file that is not there
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class HttpsLimits:
    """Socket timeouts, seconds, and the pace of one file."""

    connect_s: float = 10.0
    read_s: float = 20.0
    pace: PaceLimits = field(default_factory=PaceLimits)


class HttpsSource:
    """A `Source` over a web server of static files.

    Args:
        base_url: URL of the repository's folder.
        context: TLS settings; None for the system's authorities.
        limits: Timeouts and pace.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        base_url: str,
        context: ssl.SSLContext | None = None,
        limits: HttpsLimits = HttpsLimits(),
        clock: Clock = time.monotonic,
    ) -> None:
        self._base = base_url.rstrip("/") + "/"
        self._limits = limits
        self._clock = clock
        timeout = urllib3.Timeout(connect=limits.connect_s, read=limits.read_s)
        self._pool = urllib3.PoolManager(ssl_context=context, timeout=timeout, retries=False)

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on.

        Raises:
            TransferError: `transfer.not_found`, `transfer.refused` (status), `transfer.redirect`,
                `transfer.range`, `transfer.encoding`, `transfer.not_a_file`, `transfer.truncated`,
                `transfer.slow`, `transfer.deadline` or `transfer.failed`.
        """
        pace = Pace(self._limits.pace, self._clock)
        try:
            response = self._get(self._base + path, start)
            try:
                left = _expected_bytes(response, path, start)
                yield from _body(response, left, path, pace)
            finally:
                response.close()
        except (HTTPError, OSError) as error:
            raise TransferError(f"{path}: {error}") from error

    def _get(self, url: str, start: int) -> urllib3.BaseHTTPResponse:
        """Ask for the file, following redirects that stay on the same host."""
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        for _ in range(MAX_REDIRECTS + 1):
            response = self._pool.request(
                "GET", url, headers=headers, preload_content=False, redirect=False
            )
            if response.status not in _REDIRECTS:
                return response
            response.close()
            url = _same_host(url, response.headers.get("Location", ""))
        raise TransferError(f"{url}: more than {MAX_REDIRECTS} redirects", code="transfer.redirect")


def _same_host(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(target)[:2] != urlsplit(url)[:2]:
        message = f"{url}: redirect to another host ({urlsplit(target).netloc}) is not followed"
        raise TransferError(message, code="transfer.redirect")
    return target


def _expected_bytes(response: urllib3.BaseHTTPResponse, path: str, start: int) -> int | None:
    """Judge status and headers; return how many bytes follow, None when the server does not say."""
    headers = response.headers
    if response.status in _MISSING:
        raise TransferError(f"{path}: not in the repository", code="transfer.not_found")
    if response.status not in {_OK, _PARTIAL}:
        message = f"{path}: the server answered {response.status}"
        raise TransferError(message, code="transfer.refused")
    if headers.get("Content-Encoding", "identity") != "identity":
        message = f"{path}: sent compressed although that was ruled out"
        raise TransferError(message, code="transfer.encoding")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError(f"{path}: got a web page instead", code="transfer.not_a_file")
    if response.status == _PARTIAL or start:
        return _ranged_bytes(response, path, start)
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _ranged_bytes(response: urllib3.BaseHTTPResponse, path: str, start: int) -> int:
    found = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    first, last, total = map(int, match.groups()) if match else (-1, -1, -1)
    if response.status != _PARTIAL or first != start or last != total - 1:
        message = f"{path}: asked for bytes from {start}, got {response.status} {found!r}"
        raise TransferError(message, code="transfer.range")
    return total - start


def _body(
    response: urllib3.BaseHTTPResponse, left: int | None, path: str, pace: Pace
) -> Iterator[bytes]:
    while data := response.read1(CHUNK_BYTES):
        pace.add(len(data))
        if left is not None:
            left -= len(data)
        yield data
    if left:
        message = f"{path}: {left} bytes fewer than announced"
        raise TransferError(message, code="transfer.truncated")
