"""One worker child: its start, the conversation with it, its death.

The child is untrusted from the moment it has a model: whatever it sends is decoded strictly, whatever
it does not answer in time gets it killed, and its end is always noticed (the socket closes).
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent import errors
from agent.errors import ModelError, StorageError, VigilError
from agent.host.cgroup import confine_worker, was_over_limit
from agent.host.clock import monotonic_ns
from agent.host.memfd import bytes_of
from agent.host.seqpacket import Wire, WireClosedError, WireFaultError
from agent.schema import ipc
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.events import MAX_CLIP_BYTES, MAX_PICTURE_BYTES, PictureKind

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictured:
    """A picture of an event, taken out of its memfd; nothing of it has been checked but its size."""

    message: ipc.EventPicture
    data: bytes


Said = ipc.FrameResult | ipc.ObjectEvent | ipc.PlaceNotice | ipc.Heartbeat | ipc.BuildProgress
Unasked = Said | ipc.Failed | Pictured
A = TypeVar("A", bound=ipc.Message)
_POLL_S = 0.5
COMMAND = (sys.executable, "-m", "agent.vision")


class WorkerProcess:
    """A running worker.

    Args:
        memory_mb: Memory the worker may use, MiB.
        on_message: Called from the reader thread with everything that is not an answer.
        on_death: Called once from the reader thread when the worker is gone.
        command: Program that speaks `agent.schema.ipc` on the socket given as `--socket-fd`.
    """

    def __init__(
        self,
        memory_mb: int,
        on_message: Callable[[WorkerProcess, Unasked], None],
        on_death: Callable[[WorkerProcess], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._on_message = on_message
        self._on_death = on_death
        self._memory_mb = memory_mb
        self._ids = itertools.count(1)
        self._answers = _Answers()
        self._heard_ns = monotonic_ns()
        self._process, self._wire = _spawn(command, memory_mb)
        self._reader = threading.Thread(target=self._read, name="worker-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child has not ended."""
        return self._process.poll() is None

    @property
    def end(self) -> str:
        """How the child ended, as words that follow "worker"."""
        return self._describe_end(self._process.poll())

    @property
    def silence_s(self) -> float:
        """Seconds since the worker's last message, or since its start."""
        return (monotonic_ns() - self._heard_ns) / 1e9

    def next_id(self) -> int:
        """Return a fresh id for a request."""
        return next(self._ids)

    def ask(
        self, request: ipc.Request, kind: type[A], timeout_s: float, fd: int | None = None
    ) -> tuple[A, int | None]:
        """Send `request` (with `fd` beside it) and wait for its answer of type `kind`.

        Returns:
            The answer and the descriptor that came with it, which the caller must close.

        Raises:
            VigilError: What the worker reported, as the class it named.
            ModelError: `model.timeout` (the worker is killed) or `model.crashed`.
        """
        pending = self._answers.expect(request.id)
        try:
            self._wire.send(request, fd)
        except WireClosedError as error:
            raise self._crashed(request) from error
        if not pending.done.wait(timeout_s):
            self.kill()
            message = f"worker did not answer {type(request).__name__} within {timeout_s:.0f} s"
            raise ModelError(message, code="model.timeout")
        if pending.answer is None:
            raise self._crashed(request)
        if isinstance(pending.answer, ipc.Failed):
            raise _as_error(pending.answer)
        if not isinstance(pending.answer, kind):
            self.kill()
            raise ModelError("worker gave an answer of another kind", code="model.protocol")
        return pending.answer, pending.fd

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ask the worker to end, and kill it if it does not; idempotent."""
        if self.alive:
            try:
                self._wire.send(ipc.Shutdown(id=self.next_id()))
                self._process.wait(timeout_s)
            except (WireClosedError, subprocess.TimeoutExpired):
                self.kill()
        self._reader.join(timeout_s)

    def kill(self) -> None:
        """End the worker at once."""
        self._process.kill()
        self._process.wait()

    def _crashed(self, request: ipc.Request) -> ModelError:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            status = None
        message = f"worker {self._describe_end(status)} during {type(request).__name__}"
        return ModelError(message, code="model.crashed")

    def _describe_end(self, status: int | None) -> str:
        if status is None:
            return "closed its socket"
        if was_over_limit(self.pid):
            return f"needed more than its {self._memory_mb} MiB (update.worker_memory_mb) and was killed by the kernel"
        if status < 0:
            return f"was killed by signal {-status}"
        return f"exited with status {status}"

    def _read(self) -> None:
        try:
            while self._read_one():
                pass
        finally:
            self._answers.abandon()
            self._wire.close()
            self._on_death(self)

    def _read_one(self) -> bool:
        try:
            received = self._wire.receive(_POLL_S)
        except (WireClosedError, WireFaultError):
            return False
        if received is None:
            return self.alive
        data, fd = received
        try:
            message: ipc.Answer = parse_msgpack(data, ipc.Answer)
        except Malformed as error:
            log.error("worker %d sent nonsense and is killed: %s", self.pid, error)
            self._process.kill()
            return False
        self._deliver(message, fd)
        return True

    def _deliver(self, message: ipc.Answer, fd: int | None) -> None:
        self._heard_ns = monotonic_ns()
        if isinstance(message, ipc.Ready):
            log.debug("worker %d is ready", message.pid)
        elif isinstance(message, ipc.EventPicture):
            self._deliver_picture(message, fd)
        elif isinstance(message, Said):
            self._on_message(self, message)
        elif self._answers.fulfil(message.id, message, fd):
            return
        elif isinstance(message, ipc.Failed):
            self._on_message(self, message)
        if fd is not None:
            os.close(fd)

    def _deliver_picture(self, message: ipc.EventPicture, fd: int | None) -> None:
        limit = MAX_CLIP_BYTES if message.kind is PictureKind.CLIP else MAX_PICTURE_BYTES
        try:
            data = b"" if fd is None else bytes_of(fd, limit)
        except StorageError as error:
            log.warning("worker %d: %s of %s: %s", self.pid, message.kind, message.event, error)
            return
        if data:
            self._on_message(self, Pictured(message, data))


class _Pending:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: ipc.Answer | None = None
        self.fd: int | None = None


class _Answers:
    """Requests that wait for their answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, _Pending] = {}
        self._closed = False

    def expect(self, identity: int) -> _Pending:
        pending = _Pending()
        with self._lock:
            self._waiting[identity] = pending
            if self._closed:
                pending.done.set()
        return pending

    def fulfil(self, identity: int, answer: ipc.Answer, fd: int | None) -> bool:
        with self._lock:
            pending = self._waiting.pop(identity, None)
        if pending is None:
            return False
        pending.answer, pending.fd = answer, fd
        pending.done.set()
        return True

    def abandon(self) -> None:
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
        for pending in waiting.values():
            pending.done.set()


def _spawn(command: Sequence[str], memory_mb: int) -> tuple[subprocess.Popen[bytes], Wire]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    options = ["--socket-fd", str(theirs.fileno()), "--memory-mb", str(memory_mb)]
    try:
        process = subprocess.Popen(
            [*command, *options],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise ModelError(f"worker cannot be started: {error}", code="model.spawn") from error
    finally:
        theirs.close()
    confine_worker(process.pid, memory_mb)
    return process, Wire(ours)


def _as_error(failure: ipc.Failed) -> VigilError:
    kind = getattr(errors, failure.kind, ModelError)
    if not (isinstance(kind, type) and issubclass(kind, VigilError)):
        kind = ModelError
    return kind(failure.message, code=failure.code)
