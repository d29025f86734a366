"""The audit record's head, signed: whoever keeps a state message can prove later what the record was."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

from agent.errors import VigilError
from agent.schema.config import Config
from agent.trust.audit import sign_head
from agent.trust.keys import load_private

log = logging.getLogger(__name__)


class HeadSeal:
    """Signs with the device's TLS key, once for each head. Where that key cannot sign there is no signature.

    Args:
        config: Names the device and its TLS key.
    """

    def __init__(self, config: Config) -> None:
        tls = config.broker.tls
        self._device, self._key = config.device.id, Path(tls.key) if tls else None
        self._last = ("", "")

    def of(self, head: str) -> str:
        """Return the signature of `head` as base64, empty without a key; any thread may ask."""
        signed, signature = self._last
        if signed != head:
            signature = self._sign(head)
            self._last = (head, signature)
        return signature

    def _sign(self, head: str) -> str:
        if self._key is None:
            return ""
        try:
            key = load_private(self._key)
        except VigilError as error:
            log.warning("the audit head is not signed: %s", error)
            return ""
        return base64.b64encode(sign_head(key, self._device, head)).decode()
