"""What this controller knows of one running roll-out: its rows and the tally of them, read anew where something moved.

Another controller, or a person who adds commands, changes rows without telling us: all of them are read again from time
to time, which takes a hundredth of the time at most. What we believe too long does no harm: every change in the store
names the row that it expects.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Collection

from agent.fleet.rollout_store import Rollout, RolloutStore, Row
from agent.fleet.rollout_tally import Tally

_ALL_EVERY_S = 10.0
_IDLE_FACTOR = 100


class RolloutBook:
    """One roll-out's rows by device; used by one thread.

    Attributes:
        tally: Of the rows, as far as its user put them there.
    """

    def __init__(self, store: RolloutStore, rollout: Rollout) -> None:
        self._store = store
        self._name = rollout.name
        self.rows: dict[str, Row] = {}
        self.tally = Tally(len(rollout.plan.waves))
        self._doubted: set[str] = set()
        self._all_due_s = 0.0
        self._expiries: list[tuple[int, str]] = []

    def doubt(self, devices: Collection[str]) -> None:
        """Have the rows of these devices read again; devices that take no part do not matter."""
        self._doubted.update(self.rows.keys() & devices)

    def read(self, now_ms: int) -> dict[str, Row]:
        """Read what is in doubt, what expired by `now_ms` (Unix milliseconds), or everything where that is due.

        Raises:
            StorageError: The database cannot be used.
        """
        begun_s = time.monotonic()
        if begun_s >= self._all_due_s:
            read = self._store.devices(self._name)
            took_s = time.monotonic() - begun_s
            self._all_due_s = begun_s + max(_ALL_EVERY_S, _IDLE_FACTOR * took_s)
        else:
            self.doubt({device for _, device in self._expired(now_ms)})
            read = self._store.some_devices(self._name, self._doubted)
        self._doubted.clear()
        for row in read:
            before = self.rows.get(row.device)
            if row.expires_s and (before is None or before.expires_s != row.expires_s):
                heapq.heappush(self._expiries, (row.expires_s * 1000, row.device))
            self.rows[row.device] = row
        return {row.device: row for row in read}

    def _expired(self, now_ms: int) -> list[tuple[int, str]]:
        expired = []
        while self._expiries and self._expiries[0][0] <= now_ms:
            expired.append(heapq.heappop(self._expiries))
        return expired
