"""Named loops that can be stopped together and watched for progress.

A loop is any object with `run(stop)`. It waits only through `stop.wait(timeout)` (or asks
`stop.is_set()` between short blocking calls), and each such call is its sign of life: the
watchdog is fed only while every loop has shown one lately.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

from agent.host.clock import monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Pulse(threading.Event):
    """A stop event that remembers when its loop last looked at it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen_ns = monotonic_ns()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds; return whether the loop must stop."""
        self._seen_ns = monotonic_ns()
        return super().wait(timeout)

    def is_set(self) -> bool:
        """Return whether the loop must stop."""
        self._seen_ns = monotonic_ns()
        return super().is_set()

    @property
    def age_s(self) -> float:
        """Seconds since the loop's last sign of life."""
        return (monotonic_ns() - self._seen_ns) / 1e9


class Runnable(Protocol):
    """Something with a loop."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, waiting only with timeouts."""


class Loop:
    """A thread around a `Runnable`: started, watched and stopped by the app.

    Args:
        name: Thread name, for logs and stack dumps.
        body: What to run.
        patience_s: Longest time it may go without a sign of life.
        on_crash: Called once with the name and the error if the body raises.
        stop_s: How long to wait for the end of a loop that was asked to stop.
        interrupt: Called when the loop is asked to stop, to end a long call that it may be in.
    """

    def __init__(
        self,
        name: str,
        body: Runnable,
        patience_s: float,
        on_crash: Callable[[str, BaseException], None],
        *,
        stop_s: float = 10.0,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.patience_s = patience_s
        self._body = body
        self._on_crash = on_crash
        self._stop_s = stop_s
        self._interrupt = interrupt
        self._pulse = Pulse()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the loop to stop and wait for it, `stop_s` at most; idempotent."""
        self._pulse.set()
        self._interrupt()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(self._stop_s)
        if self._thread.is_alive():
            log.warning("loop %s did not stop within %.0f s", self.name, self._stop_s)

    @property
    def fresh(self) -> bool:
        """Whether the loop is alive and has shown a sign of life within its patience."""
        return self._thread.is_alive() and self._pulse.age_s <= self.patience_s

    def _run(self) -> None:
        try:
            self._body.run(self._pulse)
        except Exception as error:
            log.exception("loop %s crashed", self.name)
            self._on_crash(self.name, error)
