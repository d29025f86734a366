"""Keeps brokers informed: after a change they get the access file and revocation list anew, once for many changes."""

from __future__ import annotations

import logging
import threading

from agent.errors import VigilError
from agent.fleet.home import FleetHome

log = logging.getLogger(__name__)
_PAUSE_S = 1.0


class AccessKeeper:
    """A loop that writes after `changed` was called; thousands of devices that join at once cost one write a second.

    Args:
        home: The fleet.
    """

    def __init__(self, home: FleetHome) -> None:
        self._home = home
        self._changed = threading.Event()

    def changed(self) -> None:
        """Say that devices were admitted or revoked; from any thread."""
        self._changed.set()

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop; faults are logged and tried again."""
        while not stop.is_set():
            if self._changed.wait(_PAUSE_S):
                self._changed.clear()
                self._write()
                stop.wait(_PAUSE_S)

    def _write(self) -> None:
        try:
            if not self._home.write_access():
                log.warning("no broker runs here: tell it to read its files again (SIGHUP)")
        except VigilError as error:
            log.error("the brokers' access files are not up to date: %s", error)
            self._changed.set()
