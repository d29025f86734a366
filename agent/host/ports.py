"""Free ports of the loopback interface, for servers that are started a moment later."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below what the kernel gives to outgoing connections (ip(7), ip_local_port_range), which would take one in the meantime.
_RANGE = range(20000, 32000)
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return as many different ports that nobody listens on now; what was given before, and may yet be used, comes last.

    Raises:
        OSError: There are not as many.
    """
    found: list[int] = []
    with ExitStack() as held:
        shuffled = random.Random().sample(_RANGE, len(_RANGE))  # noqa: S311 - not a secret
        for port in sorted(shuffled, key=_given.__contains__):
            if len(found) == count:
                _given.update(found)
                return found
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise OSError(f"of the ports {_RANGE.start} to {_RANGE.stop - 1} fewer than {count} are free")


def free_port() -> int:
    """Return a port that nobody listens on now.

    Raises:
        OSError: There is none.
    """
    return free_ports(1)[0]
