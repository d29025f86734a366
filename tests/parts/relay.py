"""A road to a server on this machine that can be cut: what is on its way is lost, and neither end is told."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Carries every connection to its own `port` on to another one, until it is closed."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._is_whole = True
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._let_in, daemon=True).start()

    def cut(self) -> None:
        """Lose from now on what either end says."""
        self._is_whole = False

    def mend(self) -> None:
        """Carry what is said from now on; ends of connections that lost something will not understand each other."""
        self._is_whole = True

    def close(self) -> None:
        """Let nobody in any more."""
        # Closing alone does not wake who waits in `accept`.
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._server) as server:
            back = threading.Thread(target=self._carry, args=(server, client), daemon=True)
            back.start()
            self._carry(client, server)
            back.join()

    def _carry(self, speaker: socket.socket, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := speaker.recv(65_536):
                if self._is_whole:
                    listener.sendall(said)
        for end in (speaker, listener):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
