"""How an error ends an update: one table from the error's class to the outcome. Pure.

before the swap     TrustError                 refused       not marked bad: the metadata may be at fault
                    PackageError, ModelError   rejected      marked bad
                    any other                  failed        may be asked for again, the part is kept
on probation        StorageError               failed        goes back: the decision cannot be written
                    any other                  rolled back   marked bad
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agent.errors import ModelError, PackageError, StorageError, TrustError, VigilError
from agent.schema.messages import Outcome, Phase, UpdateReport
from agent.update import record as records
from agent.update.record import UpdateRecord
from agent.update.states import RESTING


@dataclass(frozen=True)
class Ending:
    """An outcome, and how the record changes by it."""

    outcome: Outcome
    apply: Callable[[UpdateRecord, UpdateReport], UpdateRecord]


_REFUSED = Ending(Outcome.REFUSED, partial(records.declined, is_bad=False))
_REJECTED = Ending(Outcome.REJECTED, partial(records.declined, is_bad=True))
_FAILED = Ending(Outcome.FAILED, records.failed)
_ROLLED_BACK = Ending(Outcome.ROLLED_BACK, records.rolled_back)

_BEFORE_SWAP: tuple[tuple[type[VigilError], Ending], ...] = (
    (TrustError, _REFUSED),
    (PackageError, _REJECTED),
    (ModelError, _REJECTED),
)
_AFTER_SWAP: tuple[tuple[type[VigilError], Ending], ...] = ((StorageError, _FAILED),)


def end_of(phase: Phase, error: VigilError) -> Ending:
    """Return how `error` ends an update that is in `phase`."""
    is_serving = phase is Phase.PROBATION
    for kind, ending in _AFTER_SWAP if is_serving else _BEFORE_SWAP:
        if isinstance(error, kind):
            return ending
    return _ROLLED_BACK if is_serving else _FAILED


def is_over(record: UpdateRecord) -> bool:
    """Say whether old files may go: not while something is going on, nor after a failure (its part is kept)."""
    return record.phase in RESTING and record.phase is not Phase.IDLE
