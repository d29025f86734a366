"""What the agent and the token helper say to each other: one request, one answer, MessagePack.

The first request is `Setup`; every other one is about the key it names.
"""

from __future__ import annotations

from agent.errors import ConfigError, KeyUnavailableError, StorageError, TrustError, VigilError
from agent.schema.keystore import Pkcs11KeyConfig, Tpm2KeyConfig
from agent.schema.values import Counter, Struct


class Setup(Struct, tag=True):
    """Which token is meant; `pin` is empty where it stands in a file."""

    config: Pkcs11KeyConfig | Tpm2KeyConfig
    pin: str = ""

    def __repr__(self) -> str:
        return f"Setup({self.config!r})"


class Exists(Struct, tag=True):
    """Is the key there? `number` is 1 if it is."""


class Create(Struct, tag=True):
    """Make the key; `data` is its public point."""


class Public(Struct, tag=True):
    """`data` is the public point."""


class CreateSigner(Struct, tag=True):
    """Make the key for signatures, or find the one that is there; `data` is its public point."""


class Sign(Struct, tag=True):
    """`data` is the signature r ‖ s, 64 bytes, of a SHA-256 digest."""

    digest: bytes


class Exchange(Struct, tag=True):
    """`data` is the shared secret with `point`."""

    point: bytes


class Promote(Struct, tag=True):
    """The key's successor takes its place."""


class ReadCounter(Struct, tag=True):
    """`number` is the rollback counter."""


class RaiseCounter(Struct, tag=True):
    """Raise the rollback counter to `value`; `number` is what it is then."""

    value: Counter


Request = (
    Setup
    | Exists
    | Create
    | CreateSigner
    | Public
    | Exchange
    | Sign
    | Promote
    | ReadCounter
    | RaiseCounter
)


class Failure(Struct):
    """An error of the tree, in transit."""

    kind: str
    message: str
    code: str
    hint: str


class Answer(Struct):
    """What became of a request."""

    data: bytes = b""
    number: int = 0
    failure: Failure | None = None


_KINDS: dict[str, type[VigilError]] = {
    kind.__name__: kind for kind in (ConfigError, KeyUnavailableError, StorageError, TrustError)
}


def failed(error: VigilError) -> Answer:
    """Return the answer that carries `error`."""
    kind = type(error).__name__
    return Answer(failure=Failure(kind=kind, message=str(error), code=error.code, hint=error.hint))


def error_of(failure: Failure) -> VigilError:
    """Return the error that `failure` carries; an unknown kind is an unusable key store."""
    kind = _KINDS.get(failure.kind, KeyUnavailableError)
    return kind(failure.message, code=failure.code, hint=failure.hint)
