"""Which devices need attention after a period, and why. Pure.

First come those with most grave reasons, then those with most reasons.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.fleet.accounts import Account
from agent.host.words import counted
from agent.schema.messages import Outcome

_BAD = (Outcome.ROLLED_BACK, Outcome.REJECTED, Outcome.REFUSED, Outcome.FAILED)
_GRAVE_ENDINGS = frozenset({Outcome.ROLLED_BACK, Outcome.REJECTED})
# Below the first of each pair a share is a reason, below the second a grave one.
_RAN = (0.99, 0.9)
_SERVED = (0.99, 0.9)
# Above: share of the time in which a camera had drifted.
_DRIFTED = (0.01, 0.5)
# Above the limit that the governor holds: it overshoots a little.
_HOT_C = (2.0, 7.0)
_STARTS_A_DAY = 2.0


@dataclass(frozen=True)
class Reason:
    """One reason to look at a device, in words."""

    text: str
    is_grave: bool = False


@dataclass(frozen=True)
class Attention:
    """A device and why to look at it; `reasons` has the grave ones first."""

    account: Account
    reasons: tuple[Reason, ...]


def ranked(
    accounts: Iterable[Account], slow: Mapping[str, str], limits_c: Mapping[str, float]
) -> list[Attention]:
    """Return the devices with a reason, those that need attention most first.

    Args:
        accounts: All that answered.
        slow: In which stage a device is slower than its like, by device.
        limits_c: Greatest temperature by profile, degrees Celsius.
    """
    found = []
    for one in accounts:
        reasons = reasons_of(one, slow.get(one.device, ""), limits_c.get(one.state.profile))
        if reasons:
            graves_first = sorted(reasons, key=lambda reason: not reason.is_grave)
            found.append(Attention(one, tuple(graves_first)))
    return sorted(found, key=_rank)


def reasons_of(account: Account, slow: str, limit_c: float | None) -> list[Reason]:
    """Return why one device needs attention; empty where nothing is known against it."""
    return [
        *_now(account),
        *_updates(account),
        *_availability(account),
        *_drift(account),
        *_heat(account, limit_c),
        *([Reason(slow)] if slow else []),
        *_oddities(account),
    ]


def _rank(one: Attention) -> tuple[int, int, str]:
    graves = sum(reason.is_grave for reason in one.reasons)
    return (-graves, -len(one.reasons), one.account.device)


def _now(account: Account) -> Iterator[Reason]:
    for text in (account.state.problem, account.state.unproven):
        if text:
            yield Reason(f"now: {text[:120]}", is_grave=True)
    if account.state.slow:
        yield Reason(f"now: {account.state.slow[:120]}")


def _updates(account: Account) -> Iterator[Reason]:
    counts = Counter(one.outcome for one in account.endings)
    for outcome in _BAD:
        if count := counts[outcome.value]:
            name = outcome.value.replace("_", " ")
            noun = "update" if count == 1 else "updates"
            yield Reason(f"{count} {noun} {name}", is_grave=outcome in _GRAVE_ENDINGS)


def _availability(account: Account) -> Iterator[Reason]:
    if not account.days:
        yield Reason("kept nothing of these days", is_grave=True)
        return
    ran = statistics.fmean(day.ran for day in account.days.values())
    if ran < _RAN[0]:
        yield Reason(f"ran {ran:.1%} of the time", is_grave=ran < _RAN[1])
    served = [day.served for day in account.days.values() if day.ran]
    if served and (share := statistics.fmean(served)) < _SERVED[0]:
        text = f"no frames in {1 - share:.1%} of the time that it ran"
        yield Reason(text, is_grave=share < _SERVED[1])


def _drift(account: Account) -> Iterator[Reason]:
    for name, share in sorted(account.drifted.items(), key=lambda item: -item[1]):
        if share > _DRIFTED[0]:
            yield Reason(f"{name}, {share:.1%} of the time", is_grave=share > _DRIFTED[1])


def _heat(account: Account, limit_c: float | None) -> Iterator[Reason]:
    known = [day.hottest_c for day in account.days.values() if day.hottest_c is not None]
    if limit_c is not None and known and max(known) > limit_c + _HOT_C[0]:
        text = f"{max(known):.1f} °C at most, limit {limit_c:.0f} °C"
        yield Reason(text, is_grave=max(known) > limit_c + _HOT_C[1])


def _oddities(account: Account) -> Iterator[Reason]:
    if account.days and account.starts > _STARTS_A_DAY * len(account.days):
        yield Reason(f"started {account.starts} times in {counted(len(account.days), 'day')}")
    if account.unread:
        yield Reason(f"{counted(account.unread, 'damaged file')} of days")
