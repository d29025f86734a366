"""Links that cost money: how many bytes a day, and at which hours. A transfer waits, and goes on where it was.

Rules
- `pause` decides, from a policy, what was used and the clock; it is pure.
- What is used is written before it is spent, in steps, so that no crash or power cut buys a byte more.
- Every byte of the repository counts; only large files wait. Metadata, policy and manifests, a few kilobytes,
  always come: a device must learn that it is to do something.
- Hours and days are those of the device's clock and time zone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Protocol

from agent.errors import StorageError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.update_config import MeteredConfig
from agent.schema.values import Counter, Struct

log = logging.getLogger(__name__)
STEP_BYTES = 256 * 1024
MEGABYTE = 1_000_000
_WAKE_S = 0.5
_LIMIT_BYTES = 4096
_DAY = timedelta(days=1)


class Usage(Struct):
    """Bytes that may be used up on one day (`YYYY-MM-DD`); never fewer than were."""

    day: str = ""
    bytes: Counter = 0


@dataclass(frozen=True)
class Pause:
    """Why a transfer must wait, and how long by now."""

    seconds: float
    reason: str


def pause(policy: MeteredConfig, used_bytes: int, now: datetime) -> Pause | None:
    """Return what holds a transfer at `now` (local time), None when it may go on."""
    opens = min((_until_open(hours, now) for hours in policy.hours), default=0.0)
    if opens:
        at = now + timedelta(seconds=opens)
        return Pause(opens, f"waiting for the window, opens at {at:%H:%M}")
    if policy.daily_mb is not None and used_bytes >= policy.daily_mb * MEGABYTE:
        midnight = (now + _DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        left_s = (midnight - now).total_seconds()
        return Pause(left_s, f"waiting for the budget, {policy.daily_mb:g} MB of today are used")
    return None


def _until_open(hours: str, now: datetime) -> float:
    """Return the seconds until a window `HH:MM-HH:MM` opens, 0 while it is open; it may pass midnight."""
    begin, end = (_minutes(text) for text in hours.split("-"))
    minute = now.hour * 60 + now.minute
    is_open = begin <= minute < end if begin < end else minute >= begin or minute < end
    ahead = (begin - minute) % (24 * 60) * 60 - now.second - now.microsecond / 1e6
    return 0.0 if is_open else ahead


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def _local_time() -> datetime:
    return datetime.now(timezone.utc).astimezone()


class Meter:
    """Counts the bytes of the day, durably; any thread may use it.

    Args:
        policy: What the link allows.
        path: Where the count lies.
        disk: Disk under it.
        now: Local time.
    """

    def __init__(
        self,
        policy: MeteredConfig,
        path: Path,
        disk: Disk = REAL_DISK,
        now: Callable[[], datetime] = _local_time,
    ) -> None:
        self._policy, self._path, self._disk, self._now = policy, path, disk, now
        self._written = self._load() if policy.daily_mb is not None else Usage()
        self._left = 0  # of what was written, not spent yet
        self._lock = threading.Lock()

    @property
    def pause(self) -> Pause | None:
        """Return what holds a transfer now."""
        now = self._now()
        with self._lock:
            used = self._written.bytes - self._left if self._written.day == _day(now) else 0
        return pause(self._policy, used, now)

    def spend(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            StorageError: The count cannot be written.
        """
        if self._policy.daily_mb is None:
            return
        with self._lock:
            self._spend(count, _day(self._now()))

    def _spend(self, count: int, day: str) -> None:
        if day != self._written.day:
            self._left = 0
        self._left -= count
        if self._left < 0 or day != self._written.day:
            before = self._written.bytes if day == self._written.day else 0
            more = STEP_BYTES - min(self._left, 0)
            self._write(Usage(day=day, bytes=before + more))
            self._left += more

    def _write(self, usage: Usage) -> None:
        self._disk.write_atomic(self._path, to_json(usage))
        self._written = usage

    def _load(self) -> Usage:
        """Read the count; one that cannot be read is taken for a day that is used up."""
        try:
            if not self._disk.exists(self._path):
                return Usage()
            return parse_json(self._disk.read(self._path, _LIMIT_BYTES), Usage)
        except (Malformed, StorageError) as error:
            log.warning("bytes of today unknown, nothing is fetched before tomorrow: %s", error)
            spent = int((self._policy.daily_mb or 0) * MEGABYTE) + 1
            return Usage(day=_day(self._now()), bytes=spent)


def _day(now: datetime) -> str:
    return f"{now:%Y-%m-%d}"


class Road(Protocol):
    """A source that can be told that what it brought was wrong (`FailoverSource`)."""

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on."""

    def distrust(self) -> None:
        """Take another road from the next `read` on."""


class MeteredSource:
    """A road whose bytes are counted.

    Args:
        road: The road.
        meter: What counts.
        on_wait: Called about twice a second while the transfer waits, with the position and the reason; what it
            raises ends the transfer. None for a small file, which does not wait.
        sleep: Sleeps, seconds.
    """

    def __init__(
        self,
        road: Road,
        meter: Meter,
        on_wait: Callable[[int, str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._road, self._meter, self._on_wait, self._sleep = road, meter, on_wait, sleep

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on; lets the road go while it must not be used."""
        position, is_over = start, False
        while not is_over:
            self._wait(position)
            is_over = True
            for data in self._road.read(path, position):
                self._meter.spend(len(data))
                position += len(data)
                yield data
                if self._on_wait and self._meter.pause:
                    is_over = False
                    break

    def distrust(self) -> None:
        """Take another road from the next `read` on."""
        self._road.distrust()

    def _wait(self, position: int) -> None:
        if self._on_wait is None:
            return
        while (held := self._meter.pause) is not None:
            self._on_wait(position, held.reason)
            self._sleep(min(held.seconds, _WAKE_S))
