"""Start in order, watch, stop in reverse: the whole life of the agent's parts.

The start order is one list; stopping is the same list reversed. systemd's watchdog is fed only while every
loop shows signs of life, four times more often than it needs (sd_watchdog_enabled(3) advises twice).
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from typing import Protocol

from agent.host import systemd
from agent.host.ending import Ending
from agent.host.loop import Loop
from agent.update.selfupdate.launcher import AGAIN

log = logging.getLogger(__name__)

EXIT_CRASHED = 70  # EX_SOFTWARE
EXIT_RESTART = 75  # EX_TEMPFAIL: the service manager starts a fresh process
EXIT_RELOAD = 76  # never seen outside: this process begins anew, with the settings on disk
_PULSE_S = 1.0


class Part(Protocol):
    """Something that is started once and stopped once."""

    def start(self) -> None:
        """Start; raises an error of the tree when it cannot."""

    def stop(self) -> None:
        """Stop; idempotent, and bounded in time."""


class Lifecycle:
    """Runs the parts until a signal, `finish` or a crashed loop.

    Args:
        parts: In the order of their start.
    """

    def __init__(self) -> None:
        self._parts: Sequence[Part] = ()
        self._ending = Ending()
        self._signal = 0
        self._status = 0

    def finish(self, status: int = 0) -> None:
        """End the run with this exit status; may be called from any thread and any signal's handler."""
        self._status = self._status or status
        self._ending.ask()

    def on_crash(self, name: str, error: BaseException) -> None:
        """End the run because a loop crashed: systemd starts a fresh process."""
        log.critical("stopping because loop %s crashed: %s", name, error)
        self.finish(EXIT_CRASHED)

    def run(self, parts: Sequence[Part]) -> int:
        """Start `parts`, wait for the end, stop them; return the exit status.

        Raises:
            VigilError: A part could not start; those before it have been stopped.
        """
        self._parts = parts
        previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        started: list[Part] = []
        try:
            for part in parts:
                if self._ending.is_near:
                    break
                part.start()
                started.append(part)
            self._watch()
        finally:
            # systemd kills what it believes to be stopping, also the version that comes after.
            again = self._status in {EXIT_RELOAD, AGAIN}
            systemd.notify("RELOADING=1" if again else "STOPPING=1")
            for part in reversed(started):
                _stop(part)
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self._status

    def _watch(self) -> None:
        systemd.notify(f"READY=1\nMAINPID={os.getpid()}")
        needed_s = systemd.watchdog_interval_s()
        pause_s = min(_PULSE_S, needed_s / 4) if needed_s else _PULSE_S
        while not self._ending.wait(pause_s):
            stale = [part.name for part in self._parts if isinstance(part, Loop) and not part.fresh]
            if stale:
                log.error("no sign of life from: %s", ", ".join(stale))
            elif needed_s:
                systemd.notify("WATCHDOG=1")
        if self._signal:
            log.info("stopping on %s", signal.Signals(self._signal).name)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = number  # told of later: a handler may interrupt a line of the log
        self.finish()


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _stop(part: Part) -> None:
    name = getattr(part, "name", type(part).__name__)
    try:
        part.stop()
    except Exception:  # one part's fault must not keep the others from stopping
        log.exception("%s did not stop cleanly", name)
