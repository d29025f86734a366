"""The agent's side of the token helper: starts it when needed, asks, and outlives it.

Rules
- One helper for each key, one request at a time; any thread may ask.
- A helper that crashes, hangs or cannot use its token is a `KeyUnavailableError`, never tampering. It is started anew
  at the next need, at growing distances (0.5 s to 60 s) while that does not help.
- A PIN that was refused is not tried again before its file changes, a typed one never: three wrong ones lock most tokens.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
import weakref

from agent.errors import KeyUnavailableError, VigilError
from agent.host.seqpacket import Wire, WireClosedError, WireFaultError
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.keystore import TokenConfig
from agent.trust.keys import P256_POINT_BYTES, load_point
from agent.trust.stores.secret import fingerprint
from agent.trust.token_messages import Answer, Exchange, Public, Request, Setup, error_of

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 60.0
_END_S = 2.0
_SECRET_BYTES = 32


class TokenHelper:
    """The helper of one token and key.

    Args:
        config: The token, with absolute paths.
        timeout_s: Seconds after which a silent helper is killed.
        pin: The PIN where a person typed it, else it is read from the file that `config` names.
    """

    def __init__(self, config: TokenConfig, timeout_s: float = TIMEOUT_S, *, pin: str = "") -> None:
        self._config = config
        self._timeout_s = timeout_s
        self._pin = pin
        self._lock = threading.Lock()
        self._running: _Process | None = None
        self._pause_s = 0.0
        self._not_before_s = 0.0
        self._refused: tuple[tuple[int, ...], VigilError] | None = None

    def ask(self, request: Request) -> Answer:
        """Return the token's answer.

        Raises:
            KeyUnavailableError: The token or the helper cannot be used now.
            VigilError: What else the token says.
        """
        with self._lock:
            self._respect_refused_pin()
            try:
                answer = self._process().ask(request, self._timeout_s)
            except KeyUnavailableError as error:
                self._stop()
                self._remember(error)
                raise
            self._pause_s = 0.0
            return answer

    def stop(self) -> None:
        """End the helper; the next request starts it anew."""
        with self._lock:
            self._stop()

    def _process(self) -> _Process:
        if self._running is None:
            wait_s = self._not_before_s - time.monotonic()
            if wait_s > 0:
                message = f"key store: it failed; tried again in {wait_s:.1f} s"
                raise _WaitingError(message, code="key.waiting")
            running = _Process()
            try:
                running.ask(Setup(config=self._config, pin=self._pin), self._timeout_s)
            except VigilError:
                running.end()
                raise
            self._running = running
        return self._running

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end()

    def _respect_refused_pin(self) -> None:
        if self._refused is None:
            return
        seen, error = self._refused
        if seen == fingerprint(self._config.pin_file):
            raise error
        self._refused, self._pause_s, self._not_before_s = None, 0.0, 0.0

    def _remember(self, error: KeyUnavailableError) -> None:
        if isinstance(error, _WaitingError):
            return
        # For the record only: who asked is told, and tells it.
        log.info("%s", error.diagnostics())
        if error.code == "key.pin_wrong":
            self._refused = fingerprint(self._config.pin_file), error
        self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _MAX_PAUSE_S)
        self._not_before_s = time.monotonic() + self._pause_s


class HelperKey:
    """A `DeviceKey` behind a token helper."""

    def __init__(self, helper: TokenHelper) -> None:
        self._helper = helper
        self._public = b""

    @property
    def public_bytes(self) -> bytes:
        """Return the public key: 65 bytes, uncompressed X9.62 point.

        Raises:
            KeyUnavailableError: The token cannot be used now.
        """
        if not self._public:
            self._public = _point(self._helper.ask(Public()).data)
        return self._public

    def exchange(self, peer_public: bytes) -> bytes:
        """Return the ECDH shared secret (32 bytes) with a peer's uncompressed point.

        Raises:
            KeyUnavailableError: The token cannot be used now.
            TrustError: `peer_public` is not a point of the curve; the token never sees it.
        """
        load_point(peer_public)
        secret = self._helper.ask(Exchange(point=peer_public)).data
        if len(secret) != _SECRET_BYTES:
            message = f"key store: expected a secret of 32 bytes, found {len(secret)}"
            raise KeyUnavailableError(message, code="key.helper")
        return secret


class _WaitingError(KeyUnavailableError):
    """The helper is not started yet, to spare the token."""


class _Process:
    """One helper process and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        command = [sys.executable, "-m", "agent.trust.token_helper", "--socket-fd", str(number)]
        try:
            self._child = subprocess.Popen(
                command, pass_fds=[number], stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            ours.close()
            message = f"key store: its helper cannot be started: {error}"
            raise KeyUnavailableError(message, code="key.helper") from error
        finally:
            theirs.close()
        self._wire = Wire(ours)
        self.end = weakref.finalize(self, _end, self._child, self._wire)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._child.pid

    def ask(self, request: Request, timeout_s: float) -> Answer:
        """Return the answer, or raise what went wrong."""
        try:
            self._wire.send(request)
            received = self._wire.receive(timeout_s)
            answer = None if received is None else parse_msgpack(received[0], Answer)
        except (WireClosedError, WireFaultError, Malformed) as error:
            raise self._died(error) from error
        if answer is None:
            message = f"key store: no answer in {timeout_s:.0f} s; its helper is stopped"
            raise KeyUnavailableError(message, code="key.timeout")
        if answer.failure is not None:
            raise error_of(answer.failure)
        found: Answer = answer
        return found

    def _died(self, error: Exception) -> KeyUnavailableError:
        try:
            status = self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            return KeyUnavailableError(f"key store: its helper: {error}", code="key.helper")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        message = f"key store: its helper ended with {how}"
        hint = "the token's library may be at fault; see the journal"
        return KeyUnavailableError(message, code="key.helper_died", hint=hint)


def _end(child: subprocess.Popen[bytes], wire: Wire) -> None:
    wire.close()
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(_END_S)


def _point(data: bytes) -> bytes:
    if len(data) != P256_POINT_BYTES:
        message = f"key store: expected a point of {P256_POINT_BYTES} bytes, found {len(data)}"
        raise KeyUnavailableError(message, code="key.helper")
    return data
