"""Whether a new model's first minutes on live frames are good enough: a pure decision.

Errors, latency and restarts are the model's own. Heat and memory are the whole board's: they count only when they last,
and only as far as they are worse than they were before the update, so that a hot board blames no release.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, replace

from agent.schema.manifest import ProbationSpec
from agent.schema.profile import Limits
from agent.schema.update_config import ProbationConfig
from agent.update.ports import UNKNOWN, Health, Strain

PATIENCE = 3.0  # multiples of the window within which the least number of frames must have come
LASTING_S = 30.0  # heat or want of memory that was over within this time is nobody's fault


class Judgement(enum.Enum):
    """What to do with the model on probation."""

    CONTINUE = "continue"
    PASSED = "pass"
    FAILED = "fail"


@dataclass(frozen=True)
class Verdict:
    """A judgement; a failure has its stable code and a reason for a person."""

    judgement: Judgement
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ProbationLimits:
    """What a model must bear.

    Attributes:
        seconds: Length of the window.
        frames: Least number of frames; 0 where the device has no camera.
        max_error_rate: Greatest share of failed frames, in [0, 1].
        max_p95_ms: Greatest p95 of one inference, milliseconds; None for no limit.
        max_restarts: Worker deaths that are borne.
        strain: What the board may bear; None for no limit.
        margin: Share by which the board may bear more than before the update, should that be over its limit.
    """

    seconds: float = 300.0
    frames: int = 100
    max_error_rate: float = 0.01
    max_p95_ms: float | None = None
    max_restarts: int = 0
    strain: Strain = UNKNOWN
    margin: float = 0.1


def limits_for(config: ProbationConfig, spec: ProbationSpec, board: Limits) -> ProbationLimits:
    """Merge what the release asks (first), the operator set and the board's profile allows (last)."""
    rate = config.max_error_rate if spec.max_error_rate is None else spec.max_error_rate
    return ProbationLimits(
        seconds=spec.seconds or config.seconds,
        frames=config.frames,
        max_error_rate=rate,
        max_p95_ms=spec.max_p95_ms or config.max_p95_ms or board.latency_ms,
        max_restarts=config.max_restarts,
        strain=Strain(
            temperature_c=config.max_temperature_c or board.temperature_c,
            memory_pressure=config.max_memory_pressure,
            worker_mb=config.max_memory_mb or board.memory_mb,
        ),
        margin=config.margin,
    )


class Probation:
    """One model's probation: looks at its health, one after another.

    Args:
        limits: What it must bear.
        before: What the board bore just before the update; None when that is not known.
    """

    def __init__(self, limits: ProbationLimits, before: Strain | None = None) -> None:
        self._limits, self._before = limits, before
        self._lasting_s = min(LASTING_S, limits.seconds)
        self._looks: deque[Health] = deque()

    def look(self, health: Health) -> Verdict:
        """Judge by what was seen up to now; `health` is newer than all before."""
        looks = self._looks
        looks.append(health)
        while len(looks) > 1 and health.seconds - looks[1].seconds >= self._lasting_s:
            looks.popleft()
        is_long_enough = health.seconds - looks[0].seconds >= self._lasting_s
        lasting = _least([look.strain for look in looks]) if is_long_enough else UNKNOWN
        return judge(replace(health, strain=lasting), self._limits, self._before)


def judge(health: Health, limits: ProbationLimits, before: Strain | None = None) -> Verdict:
    """Decide on a model by its health so far; what cannot become good any more fails at once.

    Args:
        health: Its health; the strain is what has lasted.
        limits: What it must bear.
        before: What the board bore before the update; its strain is not judged when that is None.
    """
    failure = _fault(health, limits) or _excess(health.strain, limits, before)
    if failure:
        return failure
    is_over = health.seconds >= limits.seconds
    if is_over and health.frames >= limits.frames:
        return Verdict(Judgement.PASSED)
    if health.seconds >= PATIENCE * limits.seconds:
        reason = f"{health.frames} of at least {limits.frames} frames in {health.seconds:.0f} s"
        return Verdict(Judgement.FAILED, "probation.frames", reason)
    return Verdict(Judgement.CONTINUE)


def _fault(health: Health, limits: ProbationLimits) -> Verdict | None:
    # Few frames say little about a rate, but more errors than the whole window may have are too many.
    errors_allowed = limits.max_error_rate * max(health.frames, limits.frames)
    if health.errors > errors_allowed:
        reason = f"{health.errors} of {health.frames} frames failed, at most {limits.max_error_rate:.0%} may"
        return Verdict(Judgement.FAILED, "probation.errors", reason)
    if health.restarts > limits.max_restarts:
        return _over("restarts", health.restarts, limits.max_restarts, "deaths of the worker")
    has_measure = health.frames >= max(limits.frames, 1)
    if has_measure and limits.max_p95_ms is not None and health.p95_ms > limits.max_p95_ms:
        return _over("latency", health.p95_ms, limits.max_p95_ms, "ms p95 of inference")
    return None


def _excess(strain: Strain, limits: ProbationLimits, before: Strain | None) -> Verdict | None:
    if before is None:
        return None
    for figure, code, what in (
        ("temperature_c", "temperature", "degrees Celsius"),
        ("memory_pressure", "memory", "% of the time waiting for memory"),
        ("worker_mb", "memory", "MiB of the worker"),
    ):
        found, limit, was = (getattr(one, figure) for one in (strain, limits.strain, before))
        if found is None or limit is None:
            continue
        most = max(limit, (was or 0.0) * (1 + limits.margin))
        if found > most:
            return _over(code, found, most, what)
    return None


def _over(code: str, found: float, most: float, what: str) -> Verdict:
    reason = f"{found:.4g} {what}, at most {most:.4g} allowed"
    return Verdict(Judgement.FAILED, f"probation.{code}", reason)


def _least(strains: list[Strain]) -> Strain:
    """Return the least of each figure; what was unknown once is unknown."""

    def least(figure: str) -> float | None:
        found = [getattr(strain, figure) for strain in strains]
        return None if None in found else min(found)

    return Strain(
        temperature_c=least("temperature_c"),
        memory_pressure=least("memory_pressure"),
        worker_mb=least("worker_mb"),
    )
