"""Where light devices find their broker."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from dataclasses import dataclass

# The buffer that asyncio keeps for each TLS connection, else a quarter of a megabyte.
sslproto.SSLProtocol.max_size = 16 * 1024  # type: ignore[attr-defined]


@dataclass
class Broker:
    """Where the broker is, and how to show a certificate; `context` makes None for plain text.

    Of several ports each dial takes one, as behind a load balancer.
    """

    host: str
    ports: list[int]
    context: Callable[[str], ssl.SSLContext | None]

    async def dial(self) -> socket.socket:
        """Return a connection; TLS and MQTT are still to come.

        Raises:
            OSError: Nobody listens.
        """
        road = socket.socket()
        road.settimeout(0)
        road.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = (self.host, random.choice(self.ports))  # noqa: S311 - no secret
        try:
            await asyncio.get_running_loop().sock_connect(road, address)
        except BaseException:
            road.close()
            raise
        return road
