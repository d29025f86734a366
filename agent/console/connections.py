"""How many connections the console accepts, and how long one may stay silent.

Without this, idle connections could use up the control process's file descriptors, and with them the
broker link. uvicorn's own `limit_concurrency` answers 503 but still accepts.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
FIRST_REQUEST_S = 10.0


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 connection that is dropped when it is one too many or sends no request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or drop it at once."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._silence = self.loop.call_later(FIRST_REQUEST_S, self._drop_if_silent)

    def _drop_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.abort()
