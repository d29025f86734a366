"""Talking to systemd without its library: readiness, status and watchdog.

Protocol: sd_notify(3) datagrams to the Unix socket in `$NOTIFY_SOCKET`; sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger(__name__)


def notify(state: str) -> bool:
    """Send `state`, for example `READY=1` or `WATCHDOG=1`; return False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    # A leading @ names a socket in the abstract namespace, whose first byte is NUL.
    target = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(state.encode(), target)
    except OSError as error:
        _log.warning("systemd was not told %r: %s", state, error)
        return False
    return True


def watchdog_interval_s() -> float | None:
    """Return within how many seconds systemd wants to hear `WATCHDOG=1`, None without a watchdog.

    Feed it several times within the interval.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        interval_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return interval_us / 1e6 if interval_us > 0 else None
