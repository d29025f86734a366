"""How many connections the console holds, and how long one may keep it waiting.

Without this, idle connections could use up the control process's file descriptors, and with them the
broker link. uvicorn's own `limit_concurrency` answers 503 but still accepts, and does not see connections
that have not finished their TLS handshake.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MAX_CONNECTIONS = 64
REQUEST_S = 10.0


class BoundedListener(socket.socket):
    """A listening socket that closes what it accepts beyond `MAX_CONNECTIONS`.

    Args:
        listening: Gives up its file descriptor to this one.
    """

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(fileno=listening.detach())
        self._held: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept one connection.

        Raises:
            ConnectionAbortedError: It was one too many and is closed; asyncio goes on listening.
        """
        connection, address = super().accept()
        self._held = [held for held in self._held if held.fileno() >= 0]
        if len(self._held) >= MAX_CONNECTIONS:
            connection.close()
            raise ConnectionAbortedError
        self._held.append(connection)
        return connection, address


class PromptProtocol(H11Protocol):
    """HTTP/1.1 connection that is dropped when it takes longer than `REQUEST_S` to send a request's head."""

    _check: asyncio.TimerHandle
    _answered: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._check = self.loop.call_later(REQUEST_S, self._drop_if_waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._check.cancel()
        super().connection_lost(exc)

    def _drop_if_waiting(self) -> None:
        latest: RequestResponseCycle | None = self.cycle
        waiting = latest is None or latest.response_complete
        if waiting and latest is self._answered:
            self.transport.abort()
            return
        self._answered = latest
        self._check = self.loop.call_later(REQUEST_S, self._drop_if_waiting)
