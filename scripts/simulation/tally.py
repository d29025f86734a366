"""What a crowd of light devices did, and its end where one of them fails by our fault."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from dataclasses import dataclass


@dataclass
class Tally:
    """What a crowd of devices did."""

    connected: int = 0
    connections: int = 0
    states: int = 0
    measurements: int = 0
    waiting: int = 0
    commands: int = 0
    refused: int = 0
    installed: int = 0
    failed: int = 0
    https_bytes: int = 0
    mqtt_bytes: int = 0
    by_mqtt: int = 0


def end_on_fault(task: asyncio.Task[None]) -> None:
    """End the process, and with it the run: a device that fell silent by our fault reads like one the broker lost."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(1)
