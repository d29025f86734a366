"""Several roads as one: when a road fails in mid-file, the next goes on at that byte.

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

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from `start` on, over whichever road works.

        Raises:
            TransferError: All roads failed in turn. `transfer.not_found` only if every one of them says so:
                one broken road must not make a missing file out of an existing one.
        """
        position, turn, failures = start, 0, list[TransferError]()
        while len(failures) < len(self._sources):
            try:
                for data in self._sources[turn % len(self._sources)].read(path, position):
                    failures.clear()
                    position += len(data)
                    yield data
                return
            except TransferError as error:
                logger.info("%s: road %d failed at byte %d: %s", path, turn, position, error)
                failures.append(error)
                turn += 1
        raise next((e for e in failures if e.code != "transfer.not_found"), failures[0])
