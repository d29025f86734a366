"""Measurements for metered links: a full message now and then, between them what differs from it (pure).

Each delta is against the last full message, not the delta before, so that a lost one costs nothing. It is a
JSON merge patch (RFC 7396). A figure that moved less than 5 % is left as it was.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.schema.document import ready
from agent.schema.measures import TelemetryDelta
from agent.schema.messages import MESSAGE_VERSION, Telemetry

FULL_EVERY = 10
_DEADBAND = 0.05
_OWN = ("v", "device", "boot", "seq", "at_ms")


class Deltas:
    """Decides what to send; used by one thread."""

    def __init__(self, full_every: int = FULL_EVERY) -> None:
        self._full_every = full_every
        self._full: Telemetry | None = None

    def next(self, now: Telemetry, *, whole: bool = False) -> Telemetry | TelemetryDelta:
        """Return `now`, always if it shall be `whole`, or its difference from the last full message."""
        full = self._full
        if whole or full is None or now.seq - full.seq >= self._full_every:
            self._full = now
            return now
        patch = difference(msgspec.to_builtins(full), msgspec.to_builtins(now))
        return TelemetryDelta(
            v=MESSAGE_VERSION,
            device=now.device,
            boot=now.boot,
            seq=now.seq,
            base=full.seq,
            at_ms=now.at_ms,
            patch={name: value for name, value in patch.items() if name not in _OWN},
        )


def apply(full: Telemetry, delta: TelemetryDelta) -> Telemetry:
    """Return the measurements that a delta stands for; `full` is the message it names as its base.

    Raises:
        ValueError: It was made against another message, or does not give measurements.
    """
    if (full.device, full.boot, full.seq) != (delta.device, delta.boot, delta.base):
        raise ValueError(f"the delta is against message {delta.base} of boot {delta.boot}")
    own = {"seq": delta.seq, "at_ms": delta.at_ms}
    return msgspec.convert(_patched(msgspec.to_builtins(full), delta.patch) | own, ready(Telemetry))


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch from `old` to `new`, with small moves of figures left out."""
    changed: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := difference(before, value):
                changed[name] = inner
        elif not _same(before, value):
            changed[name] = value
    return changed


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return abs(new - old) <= _DEADBAND * abs(old)
    return bool(old == new)


def _patched(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = _patched(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result
