"""Several roads as one: when a road fails in mid-file, the next goes on at that byte.

Make one for each update: it remembers which road worked, and begins with the best again next time.
A road that brought something since it was taken up may be tried again later; the transfer is given up when
every road in turn failed without a single byte.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from agent.errors import TransferError
from agent.update.pace import Clock, Pace, PaceLimits
from agent.update.ports import Source

logger = logging.getLogger(__name__)


class FailoverSource:
    """A `Source` over other sources, best first.

    Args:
        sources: At least one road.
        deadline_s: Longest time one file may take over all roads together, seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        deadline_s: float = 3600.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._sources = tuple(sources)
        self._limits = PaceLimits(min_bytes_s=0.0, deadline_s=deadline_s)
        self._clock = clock
        self._turn = 0

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on, over whichever road works.

        Raises:
            TransferError: All roads failed in turn, or `transfer.deadline`. `transfer.not_found` only if
                every road says so: one broken road must not make a missing file out of an existing one.
        """
        pace, position, failures = Pace(self._limits, self._clock), start, list[TransferError]()
        while len(failures) < len(self._sources):
            begin = position
            try:
                for data in self._sources[self._turn].read(path, position):
                    position += len(data)
                    yield data
                    pace.add(len(data))
            except TransferError as error:
                level = logging.DEBUG if error.code == "transfer.not_found" else logging.INFO
                logger.log(level, "%s: road %d at byte %d: %s", path, self._turn, position, error)
                if error.code == "transfer.deadline":
                    raise
                failures = [*failures, error] if position == begin else []
                self.distrust()
            else:
                return
        raise next((e for e in failures if e.code != "transfer.not_found"), failures[0])

    def distrust(self) -> None:
        """Take the next road from the next `read` on: this one failed or brought wrong bytes."""
        self._turn = (self._turn + 1) % len(self._sources)
