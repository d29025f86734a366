"""The golden set every night: does the model still see on this device what its makers saw?"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import date, datetime

from agent.app.device import Device
from agent.errors import CommandError, VigilError
from agent.trust.ledger import Ledger

log = logging.getLogger(__name__)
_LOOK_S = 60.0


class NightlyProof:
    """Proves the running model once in its hour of every day.

    Args:
        hour: Of the day, local time; None for never.
        prove: Runs the golden set beside what serves and says what was found; raises `VigilError`.
        ledger: Takes down how it went.
        now: The local time.

    Attributes:
        problem: What the last proof found wrong; empty while it was well.
    """

    def __init__(
        self,
        hour: int | None,
        prove: Callable[[], str],
        ledger: Ledger,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._hour, self._prove, self._ledger, self._now = hour, prove, ledger, now
        self._proven: date | None = None
        self.problem = ""

    def run(self, stop: threading.Event) -> None:
        """Look at the clock once a minute until `stop` is set."""
        while not stop.wait(_LOOK_S):
            self.step()

    def step(self) -> None:
        """Prove the model if it is due; what is under way just now is not disturbed, it is tried again later."""
        now = self._now()
        if now.hour != self._hour or now.date() == self._proven:
            return
        try:
            found, self.problem = self._prove(), ""
        except CommandError as error:
            log.info("the nightly proof waits: %s", error)
            return
        except VigilError as error:
            found = self.problem = str(error)
            log.error("the nightly proof failed: %s", error.diagnostics())
        self._proven = now.date()
        self._ledger.record("proof", found)


def make_nightly(device: Device, prove: Callable[[], str]) -> NightlyProof:
    """Return the proof of a device; never, where two models do not fit: it would cost minutes of sight."""
    hour = device.config.drift.prove_hour if device.profile.limits.two_models else None
    return NightlyProof(hour, prove, device.ledger)
