"""Free ports of the loopback interface, for servers that are started a moment later."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field


@dataclass
class Ports:
    """Ports to choose among.

    Attributes:
        among: These. Processes that share a machine and give each other different ones never choose the same.
    """

    among: range
    _given: set[int] = field(default_factory=set, init=False)

    def free(self, count: int) -> list[int]:
        """Return as many different ports that nobody listens on now; what was given before, and may yet be used, comes last.

        Raises:
            OSError: There are not as many.
        """
        found: list[int] = []
        with ExitStack() as held:
            shuffled = random.Random().sample(self.among, len(self.among))  # noqa: S311 - not a secret
            for port in sorted(shuffled, key=self._given.__contains__):
                if len(found) == count:
                    break
                probe = held.enter_context(socket.socket())
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                found.append(port)
        if len(found) < count:
            first, last = self.among[0], self.among[-1]
            raise OSError(f"of the ports {first} to {last} fewer than {count} are free")
        self._given.update(found)
        return found


# Below what the kernel gives to outgoing connections (ip(7), ip_local_port_range), which would take one in the meantime.
PORTS = Ports(range(20000, 32000))


def free_ports(count: int) -> list[int]:
    """Return as many of `PORTS`; raises as `Ports.free`."""
    return PORTS.free(count)


def free_port() -> int:
    """Return one of `PORTS` that nobody listens on now.

    Raises:
        OSError: There is none.
    """
    return free_ports(1)[0]
