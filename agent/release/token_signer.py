"""A signer whose key never leaves a PKCS#11 token: ECDSA on P-256 with SHA-256, through the token helper."""

from __future__ import annotations

import hashlib
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from securesystemslib.signer import Key, Signature, Signer, SSlibKey

from agent.errors import KeyUnavailableError
from agent.host.terminal import ask_secret
from agent.schema.keystore import Pkcs11KeyConfig
from agent.trust.keys import load_point
from agent.trust.stores.token_client import TokenHelper
from agent.trust.token_messages import CreateSigner, Public, Sign

_HALF_BYTES = 32


class TokenSigner(Signer):
    """Signs with a token's key.

    Args:
        config: The token, with absolute paths; it is reached at once.
        pin: The PIN where it was typed already. Where no file has it either, a person is asked at the terminal.

    Raises:
        KeyUnavailableError: It cannot be used now: `key.token_missing`, `key.pin_wrong`, `key.missing`, `key.other_type` and others.
        ConfigError: The PIN's file is exposed, or there is no file and no terminal to ask at (`terminal.missing`).
    """

    def __init__(self, config: Pkcs11KeyConfig, pin: str = "") -> None:
        self._config = config
        self._helper = TokenHelper(config, pin=pin or _pin(config))
        self.crypto_key: ec.EllipticCurvePublicKey = load_point(self._helper.ask(Public()).data)
        self._public_key = SSlibKey.from_crypto(self.crypto_key)

    @classmethod
    def create(cls, config: Pkcs11KeyConfig) -> TokenSigner:
        """Make the key in the token, or take the one of its label that is there; raises as the class does."""
        pin = _pin(config)
        helper = TokenHelper(config, pin=pin)
        try:
            helper.ask(CreateSigner())
        finally:
            helper.stop()
        return cls(config, pin)

    @property
    def public_key(self) -> Key:
        """Return the public key, as metadata lists it."""
        return self._public_key

    def sign(self, payload: bytes) -> Signature:
        """Return the token's signature of `payload` (DER).

        Raises:
            KeyUnavailableError: The token cannot be used now, or its key may not sign.
        """
        raw = self._helper.ask(Sign(digest=hashlib.sha256(payload).digest())).data
        if len(raw) != 2 * _HALF_BYTES:
            message = f"PKCS#11 token {self._config.token!r}: expected a signature of 64 bytes, found {len(raw)}"
            raise KeyUnavailableError(message, code="key.helper")
        r, s = (int.from_bytes(half, "big") for half in (raw[:_HALF_BYTES], raw[_HALF_BYTES:]))
        return Signature(self._public_key.keyid, encode_dss_signature(r, s).hex())

    @classmethod
    def from_priv_key_uri(cls, *_uri: Any, **_more: Any) -> NoReturn:
        """Refuse: a token is named by a file, see `agent.release.signers`."""
        raise NotImplementedError("a token is named by a key file")


def _pin(config: Pkcs11KeyConfig) -> str:
    """Ask for the PIN; empty where it stands in a file."""
    if config.pin_file:
        return ""
    hint = "name a file of mode 0600 as pin_file, or use a terminal"
    return ask_secret(f"PIN of PKCS#11 token {config.token!r} for key {config.key!r}", hint)
