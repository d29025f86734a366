"""The token helper: a process of its own that loads the vendor's library, so that its faults stay here.

    python -m agent.trust.token_helper --socket-fd N

It serves one token over one socket, one request at a time (a PKCS#11 session used by two threads crashes),
and ends when the other side closes or the token cannot be used: the next need starts a fresh one, as
PKCS#11 libraries see a token that came back only after they are initialised again. Secrets never come by
argument or environment: the PIN is read from the file that the configuration names, or comes over the socket where a
person typed it.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable
from typing import Protocol

from agent.errors import ConfigError, KeyUnavailableError, VigilError
from agent.host.plugins import load_plugin
from agent.host.sandbox import forbid_dumps
from agent.host.seqpacket import Wire, WireClosedError
from agent.schema.document import parse_msgpack
from agent.schema.keystore import store_name
from agent.trust.token_messages import (
    Answer,
    Create,
    CreateSigner,
    Exchange,
    Exists,
    Promote,
    Public,
    RaiseCounter,
    ReadCounter,
    Request,
    Setup,
    Sign,
    failed,
)

_TOKENS = {
    "pkcs11": "agent.trust.stores.pkcs11_token:Pkcs11Token",
    "tpm2": "agent.trust.stores.tpm2_token:Tpm2Token",
}


class Token(Protocol):
    """A token that holds this device's key. Every method raises `KeyUnavailableError`."""

    def exists(self) -> bool:
        """Say whether the key is there."""

    def create(self) -> bytes:
        """Make the key, or find the one that is there; return its public point."""

    def public(self) -> bytes:
        """Return the public point, 65 bytes."""

    def exchange(self, point: bytes) -> bytes:
        """Return the ECDH shared secret, 32 bytes, with a point of the curve."""

    def promote(self) -> None:
        """Put the key's successor in its place and destroy it."""


class CountingToken(Token, Protocol):
    """A token that also counts, upwards only, and signs; what it cannot do it refuses."""

    def read_counter(self) -> int:
        """Return the counter, 0 before it was ever raised."""

    def raise_counter(self, value: int) -> int:
        """Raise the counter towards `value`; return what it is now."""

    def create_signer(self) -> bytes:
        """Make the key for signatures, or find the one that is there; return its public point."""

    def sign(self, digest: bytes) -> bytes:
        """Return the ECDSA signature r ‖ s, 64 bytes, of a SHA-256 digest."""


def answer(token: CountingToken, request: Request) -> Answer:
    """Carry out one request.

    Raises:
        VigilError: The token says no.
    """
    result = _ask(token, request)
    return Answer(data=result) if isinstance(result, bytes) else Answer(number=int(result or 0))


def _ask(token: CountingToken, request: Request) -> bytes | int | None:
    if isinstance(request, Exchange):
        return token.exchange(request.point)
    if isinstance(request, Sign):
        return token.sign(request.digest)
    if isinstance(request, RaiseCounter):
        return token.raise_counter(request.value)
    plain: dict[type, Callable[[], bytes | int | None]] = {
        Exists: token.exists,
        Create: token.create,
        CreateSigner: token.create_signer,
        Public: token.public,
        Promote: token.promote,
        ReadCounter: token.read_counter,
    }
    if type(request) not in plain:
        raise ConfigError("token helper: set up already", code="key.helper")
    return plain[type(request)]()


def serve(wire: Wire) -> None:
    """Answer requests until the other side closes or the token cannot be used."""
    token: CountingToken | None = None
    try:
        while (received := wire.receive()) is not None:
            request = parse_msgpack(received[0], Request)
            try:
                if token is None:
                    token = _open(request)
                    wire.send(Answer())
                else:
                    wire.send(answer(token, request))
            except VigilError as error:
                wire.send(failed(error))
                if token is None or isinstance(error, KeyUnavailableError):
                    return
    except WireClosedError:
        return


def _open(request: Request) -> CountingToken:
    if not isinstance(request, Setup):
        raise ConfigError("token helper: not set up", code="key.helper")
    name = store_name(request.config)
    typed = (request.pin,) if request.pin else ()
    token: CountingToken = load_plugin(_TOKENS, name, "vigil.tokens")(request.config, *typed)
    return token


def main() -> int:
    """Serve on the socket that `--socket-fd` names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m agent.trust.token_helper")
    parser.add_argument("--socket-fd", type=int, required=True)
    options = parser.parse_args()
    forbid_dumps()
    serve(Wire(socket.socket(fileno=options.socket_fd)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
