"""Whether the agent is well with a change of settings: a decision over what is seen of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.schema.settings import Needs

if TYPE_CHECKING:
    from collections.abc import Sequence

STEADY_S = 3.0
_BLIND = frozenset({"failed", "stalled", "paused"})


@dataclass(frozen=True)
class Sight:
    """The agent at one moment.

    Attributes:
        at_s: Seconds since it started, by a clock that is never set.
        connected: Whether the link is up.
        pipeline: The supervisor's word for the worker, `running` when it serves.
        cameras: Status of every camera by name, `streaming` when it gives pictures.
    """

    at_s: float
    connected: bool
    pipeline: str
    cameras: dict[str, str]


def needs_of(now: Sight, cameras: Sequence[str], within_s: float) -> Needs:
    """Return what works now and so must work with a change; what only just starts counts as working.

    Args:
        now: How the agent is before the change.
        cameras: Names of the cameras that are configured.
        within_s: How long it may take after the change, seconds.
    """
    serves = now.pipeline in {"running", "starting"}
    seeing = [name for name in cameras if now.cameras.get(name, "opening") not in _BLIND]
    return Needs(
        link=now.connected, pipeline=serves, cameras=seeing if serves else [], within_s=within_s
    )


class Watch:
    """Watches one trial: good means that every need is met for `STEADY_S` without a break.

    Args:
        needs: What must be met.
        steady_s: For how long.
    """

    def __init__(self, needs: Needs, steady_s: float = STEADY_S) -> None:
        self._needs, self._steady_s = needs, steady_s
        self._good_since_s: float | None = None

    def judge(self, sight: Sight) -> bool:
        """Return whether the change is to be kept, False while nobody can say yet.

        Raises:
            ConfigError: The time is over: `config.no_link` or `config.unhealthy`, with what is missing.
        """
        missing = _missing(self._needs, sight)
        if missing is None:
            self._good_since_s = sight.at_s if self._good_since_s is None else self._good_since_s
            return sight.at_s - self._good_since_s >= self._steady_s
        self._good_since_s = None
        if sight.at_s > self._needs.within_s:
            raise missing
        return False


def _missing(needs: Needs, sight: Sight) -> ConfigError | None:
    within = f"within {needs.within_s:.0f} s"
    if needs.link and not sight.connected:
        return ConfigError(f"no link to the broker {within}", code="config.no_link")
    if needs.pipeline and sight.pipeline != "running":
        problem = f"the pipeline was {sight.pipeline}, not running, {within}"
        return ConfigError(problem, code="config.unhealthy")
    for name in needs.cameras:
        status = sight.cameras.get(name, "missing")
        if status not in {"streaming", "ended"}:
            problem = f"camera {name} was {status}, not streaming, {within}"
            return ConfigError(problem, code="config.unhealthy")
    return None
