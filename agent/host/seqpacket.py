"""Framing between the two processes: one datagram is one MessagePack message, descriptors ride beside it.

Rules
- A `Wire` owns its socket, an `AF_UNIX` `SOCK_SEQPACKET` one; several threads may send, one receives.
- A message is at most `MAX_MESSAGE_BYTES`; anything larger (models, pictures) travels as a descriptor.
- A received descriptor belongs to the receiver, which closes it. A sent one stays with the sender.
- What was received is bytes: the receiver decodes them with `agent.schema.document.parse_msgpack`.
"""

from __future__ import annotations

import array
import os
import select
import socket
import threading

import msgspec

from agent.errors import VigilError
from agent.schema.ipc import MAX_MESSAGE_BYTES

_ANCILLARY = socket.CMSG_SPACE(4 * array.array("i").itemsize)


class WireClosedError(VigilError):
    """The other process is gone or has closed its end: stop talking to it."""

    default_code = "ipc.closed"


class WireFaultError(VigilError):
    """A datagram breaks the framing (too large, cut off): give up on this peer."""

    default_code = "ipc.malformed"


def wire_pair() -> tuple[Wire, Wire]:
    """Return two connected wires."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Wire(left), Wire(right)


class Wire:
    """One end of the socket pair between the control process and a worker."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """Return the socket's descriptor, for select and for a child's `--socket-fd`."""
        return self.sock.fileno()

    def send(self, message: msgspec.Struct, fd: int | None = None) -> None:
        """Send one message, with a descriptor beside it where given; blocks while the peer's queue is full.

        Raises:
            WireClosedError: The peer is gone.
            WireFaultError: The message is larger than `MAX_MESSAGE_BYTES`.
        """
        data = msgspec.msgpack.encode(message)
        if len(data) > MAX_MESSAGE_BYTES:
            raise WireFaultError(
                f"{type(message).__name__} of {len(data)} bytes is too large to send"
            )
        with self._sending:
            try:
                socket.send_fds(self.sock, [data], [] if fd is None else [fd])
            except OSError as error:
                raise WireClosedError(f"cannot send {type(message).__name__}: {error}") from error

    def receive(self, timeout_s: float | None = None) -> tuple[bytes, int | None] | None:
        """Return the next message's bytes and its descriptor, or None when `timeout_s` passed without one.

        Raises:
            WireClosedError: The peer is gone.
            WireFaultError: The datagram does not fit the framing; its descriptors are closed.
        """
        try:
            if timeout_s is not None and not select.select([self.sock], [], [], timeout_s)[0]:
                return None
            data, ancillary, flags, _ = self.sock.recvmsg(MAX_MESSAGE_BYTES, _ANCILLARY)
        except (OSError, ValueError) as error:
            raise WireClosedError(f"cannot receive: {error}") from error
        fds = _descriptors(ancillary)
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(fds) > 1:
            _close_all(fds)
            raise WireFaultError(f"datagram is cut off or carries {len(fds)} descriptors")
        if not data:
            _close_all(fds)
            raise WireClosedError("the other process closed its end")
        return data, fds[0] if fds else None

    def close(self) -> None:
        """Close this end; the peer sees the end of the stream."""
        self.sock.close()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003 - its only parameter
    return list(fds)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
