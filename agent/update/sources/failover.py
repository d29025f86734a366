"""Several roads as one: when a road fails in mid-file, the next goes on at that byte.

Make one for each update: it remembers which road worked, and begins with the best again next time.
A road that brought something since it was taken up may be tried again later; the transfer is given up when
every road in turn failed without a single byte.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from agent.errors import TransferError
from agent.update.ports import Source

logger = logging.getLogger(__name__)


class FailoverSource:
    """A `Source` over other sources, best first.

    Args:
        sources: At least one road.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)
        self._turn = 0

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on, over whichever road works.

        Raises:
            TransferError: All roads failed in turn. `transfer.not_found` only if every one of them says so:
                one broken road must not make a missing file out of an existing one.
        """
        position, failures = start, list[TransferError]()
        while len(failures) < len(self._sources):
            try:
                for data in self._sources[self._turn].read(path, position):
                    failures.clear()
                    position += len(data)
                    yield data
                return
            except TransferError as error:
                logger.info("%s: road %d failed at byte %d: %s", path, self._turn, position, error)
                failures.append(error)
                self.distrust()
        raise next((e for e in failures if e.code != "transfer.not_found"), failures[0])

    def distrust(self) -> None:
        """Take the next road from the next `read` on: this one failed or brought wrong bytes."""
        self._turn = (self._turn + 1) % len(self._sources)
