"""Files over HTTP with Range requests.

Rules (UPDATE_NOTES 5.3)
- From byte 0: 200, or 206 that begins there. From any other byte: only 206 whose Content-Range begins there.
- No compression, no redirect to another host, no web page in place of a file (captive portals).
- A busy server (503 or 429 with Retry-After) is asked again as it says, a few times.
- Fewer bytes than announced is an error, and so is a road slower than the minimum rate.
"""

from __future__ import annotations

import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from agent.errors import ConfigError, TransferError
from agent.schema.update_config import RepositoryConfig
from agent.update.pace import Clock, Pace, PaceLimits

CHUNK_BYTES = 128 * 1024
MAX_REDIRECTS = 3
MAX_RETURNS = 4  # answers of a busy server to one request, before the next road is taken
MAX_RETRY_AFTER_S = 60.0
_OK, _PARTIAL = 200, 206
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 503})
_MISSING = frozenset({403, 404, 410})  # object stores answer 403 for a file that is not there
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class HttpsLimits:
    """Socket timeouts, seconds, and the pace of one file."""

    connect_s: float = 10.0
    read_s: float = 20.0
    pace: PaceLimits = field(default_factory=PaceLimits)


def web_source(repository: RepositoryConfig, limits: HttpsLimits = HttpsLimits()) -> HttpsSource:
    """Return the source that the configuration names.

    Raises:
        ConfigError: The authority's certificate cannot be used.
    """
    context = None
    if repository.url.startswith("https:"):
        try:
            context = ssl.create_default_context(cafile=repository.ca)
        except (ssl.SSLError, OSError) as error:
            message = f"update.repository.ca {repository.ca}: {error.strerror or error}"
            raise ConfigError(message, hint="it must be a PEM certificate") from error
        context.minimum_version = (
            ssl.TLSVersion.TLSv1_2
        )  # what content delivery networks still need
    return HttpsSource(repository.url, context, limits)


class HttpsSource:
    """A `Source` over a web server of static files.

    Args:
        base_url: URL of the repository's folder.
        context: TLS settings; None for the system's authorities.
        limits: Timeouts and pace.
        clock: Monotonic seconds.
        sleep: Sleeps, seconds.
    """

    def __init__(
        self,
        base_url: str,
        context: ssl.SSLContext | None = None,
        limits: HttpsLimits = HttpsLimits(),
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
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
                `transfer.busy` (asked to come back too often), `transfer.slow`, `transfer.deadline` or
                `transfer.failed`.
        """
        pace = Pace(self._limits.pace, self._clock)
        try:
            response = self._admitted(path, start, pace)
            try:
                left = _expected_bytes(response, path, start)
                yield from _body(response, left, path, pace)
            finally:
                response.close()
        except (HTTPError, OSError) as error:
            raise TransferError(f"{path}: {error}") from error

    def _admitted(self, path: str, start: int, pace: Pace) -> urllib3.BaseHTTPResponse:
        """Ask for the file, coming back later as often as a busy server may ask for that."""
        for _ in range(MAX_RETURNS):
            response = self._get(self._base + path, start)
            wait_s = _retry_after_s(response)
            if wait_s is None:
                return response
            response.close()
            # Jitter keeps a fleet that was sent away together from coming back together.
            wait_s *= 1.0 + secrets.randbelow(256) / 1024
            pace.excuse(wait_s)
            self._sleep(wait_s)
            pace.add(0)
        message = f"{path}: the server was busy {MAX_RETURNS} times"
        raise TransferError(message, code="transfer.busy")

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


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return how long a busy server wants us to stay away, None when it is not busy or does not say."""
    told = response.headers.get("Retry-After", "")
    if response.status not in _BUSY or not told:
        return None
    try:
        at = parsedate_to_datetime(told) if not told.isdecimal() else None
    except ValueError:
        return None
    seconds = float(told) if at is None else at.timestamp() - time.time()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


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
