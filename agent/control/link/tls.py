"""The TLS context of the link: version 1.3 only, both sides show certificates, the broker's name is checked."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.schema.config import BrokerConfig, TlsConfig

logger = logging.getLogger(__name__)


class Credentials:
    """The context for the next connection, made anew when a certificate or key file was replaced.

    Files that cannot be used, or do not belong together because only one was replaced so far, are
    looked at again later; until then the context that worked is kept.

    Attributes:
        context: None where plaintext is meant.

    Raises:
        ConfigError: As `client_context`.
    """

    def __init__(self, broker: BrokerConfig) -> None:
        self._broker = broker
        self._stamp = self._look()
        self._fault = ""
        self.context = client_context(broker)

    def renew(self) -> bool:
        """Return whether there is a new context since the last call."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        try:
            self.context = client_context(self._broker)
        except ConfigError as error:
            if str(error) != self._fault:
                logger.warning("the replaced certificate is not used yet: %s", error)
            self._fault = str(error)
            return False
        self._stamp, self._fault = stamp, ""
        return True

    def _look(self) -> list[tuple[int, int, int]]:
        """Return what changes when a file is replaced; files that are absent are left out."""
        tls = self._broker.tls
        paths = [Path(name) for name in (tls.ca, tls.cert, tls.key)] if tls else []
        found = [path.stat() for path in paths if path.is_file()]
        return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in found]


def client_context(broker: BrokerConfig) -> ssl.SSLContext | None:
    """Return the context for `broker`, None where plaintext is meant and allowed.

    Raises:
        ConfigError: Plaintext without permission, or files that are absent or not what they should be.
    """
    if broker.tls is not None:
        return _mutual_context(broker.tls)
    if broker.allow_plaintext:
        return None
    raise ConfigError(
        f"broker.tls is missing: the connection to {broker.host} would be in plaintext",
        code="config.plaintext",
        hint="give broker.tls (ca, cert, key), or set broker.allow_plaintext: true on a closed network",
    )


def _mutual_context(tls: TlsConfig) -> ssl.SSLContext:
    for place, name in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if not Path(name).is_file():
            message = f"broker.tls.{place}: there is no file {name}"
            raise ConfigError(message, hint="enrol the device, or correct the path")
    context = _authority_context(tls.ca)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        message = f"broker.tls.cert {tls.cert} and broker.tls.key {tls.key}: {_reason(error)}"
        raise ConfigError(message, hint="both must be PEM and belong together") from error
    return context


def _authority_context(path: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=path)
    except (ssl.SSLError, OSError) as error:
        message = f"broker.tls.ca {path}: {_reason(error)}"
        raise ConfigError(message, hint="it must be a PEM certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _no_password() -> str:
    # Without this, OpenSSL would ask for the password of an encrypted key on the terminal.
    raise ValueError("the key is encrypted with a password, which is not supported")


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__
