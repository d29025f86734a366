"""The plan of a roll-out: which release, for whom, in which waves, under which conditions. Pure.

```yaml
schema: 1
name: people-2
release: gate/people/2.0
groups: [dock]
waves: [{group: canary}, {percent: 25}, {percent: 100}]
success_percent: 90
max_failed_percent: 5
soak_s: 600
answer_within_s: 3600
window: {from_hour: 22, until_hour: 5}
```
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated

import msgspec

from agent.errors import ConfigError
from agent.schema.document import config_from_yaml
from agent.schema.values import Identifier, Struct

PLAN_SCHEMA = 1
PLAN_LIMIT = 256 * 1024  # bytes
WHOLE = 100

Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Share = Annotated[int, msgspec.Meta(ge=0, le=99)]
Hour = Annotated[int, msgspec.Meta(ge=0, le=23)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=30 * 24 * 3600)]
ReleaseLabel = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9.+_-]*){2}$(?!\n)")
]


class Wave(Struct):
    """One step outwards: the members of a group, or so many percent of all (counted from the first)."""

    percent: Percent | None = None
    group: Identifier | None = None


class Window(Struct):
    """Hours of the day (UTC) in which devices may be asked; over midnight when `from_hour` is the later."""

    from_hour: Hour
    until_hour: Hour

    def holds(self, hour: int) -> bool:
        """Return whether an hour of the day (0 to 23) lies in it."""
        if self.from_hour < self.until_hour:
            return self.from_hour <= hour < self.until_hour
        return hour >= self.from_hour or hour < self.until_hour


class Plan(Struct):
    """A plan as its file has it.

    Attributes:
        release: `<class>/<name>/<version>`.
        groups: Members of these groups take part.
        devices: These take part, too; with no groups and no devices, all of the release's class do.
        waves: In order; the last is `percent: 100`.
        success_percent: So many of a wave's devices must have the release before the next wave.
        max_failed_percent: When more of a wave's devices failed, everything halts.
        soak_s: Seconds between a wave's success and the next wave.
        answer_within_s: A device that has not finished after so many seconds counts as failed.
        window: When devices may be asked; always where there is none.
    """

    schema: int
    name: Identifier
    release: ReleaseLabel
    waves: tuple[Wave, ...]
    groups: tuple[Identifier, ...] = ()
    devices: tuple[Identifier, ...] = ()
    success_percent: Percent = 95
    max_failed_percent: Share = 5
    soak_s: Seconds = 600
    answer_within_s: Annotated[int, msgspec.Meta(ge=1, le=30 * 24 * 3600)] = 3600
    window: Window | None = None


def read_plan(text: str, source: str) -> Plan:
    """Read and check a plan's YAML; `source` names the file in the error.

    Raises:
        ConfigError: It says where, what was expected and what was found.
    """
    plan = config_from_yaml(text, Plan, source)
    fault = _fault(plan)
    if fault is not None:
        place, problem = fault
        raise ConfigError(
            f"{source}: at {place}: {problem}",
            code="rollout.plan",
            hint=f"correct {place} in {source}",
        )
    return plan


def waves_of(
    plan: Plan, members: Mapping[str, AbstractSet[str]], source: str = "plan"
) -> dict[str, int]:
    """Put every device that takes part into the first wave that reaches it (counted from 0), in order.

    Devices within a percentage are those whose names come first when hashed with the plan's name: the same on
    every machine, others in every roll-out.

    Args:
        plan: The plan.
        members: The groups of every device of the release's class that is not revoked.
        source: Names the plan in the error.

    Raises:
        ConfigError: A device or group of the plan has no such device, or nobody is left to take part.
    """
    unknown = sorted(set(plan.devices) - set(members))
    if unknown:
        raise _nobody(source, "$.devices", f"{unknown[0]!r} is not enrolled in the release's class")
    known = set().union(*members.values()) if members else set()
    named = [*plan.groups, *(wave.group for wave in plan.waves if wave.group is not None)]
    missing = [group for group in named if group not in known]
    if missing:
        raise _nobody(source, "$.groups or $.waves", f"group {missing[0]!r} has no device")
    order = _order(plan, members)
    if not order:
        raise _nobody(source, "$", "no device takes part")
    found: dict[str, int] = {}
    for number, wave in enumerate(plan.waves):
        for device in _reached(wave, order, members):
            found.setdefault(device, number)
    return found


def share_of(percent: int, size: int) -> int:
    """Return how many of `size` devices are at least `percent` of them."""
    return math.ceil(percent * size / WHOLE)


def _order(plan: Plan, members: Mapping[str, AbstractSet[str]]) -> list[str]:
    everybody = not plan.groups and not plan.devices
    chosen = [
        device
        for device, groups in members.items()
        if everybody or device in plan.devices or not groups.isdisjoint(plan.groups)
    ]
    return sorted(
        chosen, key=lambda device: hashlib.sha256(f"{plan.name}/{device}".encode()).digest()
    )


def _reached(
    wave: Wave, order: list[str], members: Mapping[str, AbstractSet[str]]
) -> Iterable[str]:
    if wave.group is not None:
        return [device for device in order if wave.group in members[device]]
    return order[: share_of(wave.percent or WHOLE, len(order))]


def _fault(plan: Plan) -> tuple[str, str] | None:
    percents = [wave.percent for wave in plan.waves if wave.percent is not None]
    unclear = [n for n, wave in enumerate(plan.waves) if (wave.percent is None) == (not wave.group)]
    total = plan.success_percent + plan.max_failed_percent
    window = plan.window
    checks = (
        (plan.schema != PLAN_SCHEMA, "$.schema", f"expected {PLAN_SCHEMA}, found {plan.schema}"),
        (not plan.waves, "$.waves", "expected at least one wave, found none"),
        (bool(unclear), f"$.waves{unclear[:1]}", "expected either percent or group"),
        (percents != sorted(set(percents)), "$.waves", f"expected rising percents: {percents}"),
        (
            not plan.waves or plan.waves[-1].percent != WHOLE,
            "$.waves",
            "expected a last wave with percent: 100",
        ),
        (
            total > WHOLE,
            "$.success_percent",
            f"with max_failed_percent expected at most 100, found {total}: it would never be reached",
        ),
        (
            window is not None and window.from_hour == window.until_hour,
            "$.window",
            "expected two different hours; leave the window out for the whole day",
        ),
    )
    return next(((place, problem) for wrong, place, problem in checks if wrong), None)


def _nobody(source: str, place: str, problem: str) -> ConfigError:
    return ConfigError(
        f"{source}: at {place}: {problem}",
        code="rollout.plan",
        hint="compare with `vigil fleet devices`",
    )
