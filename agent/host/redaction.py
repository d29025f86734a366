"""Secrets taken out of text before it leaves the device."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "…"
_CALLED = (
    r"[\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|credential|vigil_session|pin)"
)
_RULES = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL
        ),
        HIDDEN,
    ),
    (re.compile(r"(\w+://)[^/\s@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"(?i)([?&]{_CALLED}=)[^&\s]+"), rf"\1{HIDDEN}"),
    (
        re.compile(rf"(?i)(\b{_CALLED}[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&]+)"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]+"), rf"\1{HIDDEN}"),
)
_CALLED_FIELD = re.compile(rf"(?i){_CALLED}")


def redacted(text: str) -> str:
    """Return `text` without private keys, passwords in addresses, and values of what is called a secret."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redacted_tree(tree: Any) -> Any:
    """Return plain lists and dictionaries with every text redacted, and secret fields hidden as a whole."""
    if isinstance(tree, dict):
        return {name: _field(str(name), value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [redacted_tree(one) for one in tree]
    return redacted(tree) if isinstance(tree, str) else tree


def _field(name: str, value: Any) -> Any:
    if value and _CALLED_FIELD.fullmatch(name):
        return HIDDEN
    return redacted_tree(value)
