"""Whether a new model's first minutes on live frames are good enough: a pure decision."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.schema.config import ProbationConfig
from agent.schema.manifest import ProbationSpec
from agent.update.ports import Health

PATIENCE = 3.0  # multiples of the window within which the least number of frames must have come


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
        max_temperature_c: Greatest temperature; None for no limit.
    """

    seconds: float = 300.0
    frames: int = 100
    max_error_rate: float = 0.01
    max_p95_ms: float | None = None
    max_restarts: int = 0
    max_temperature_c: float | None = None


def limits_for(
    config: ProbationConfig, spec: ProbationSpec, max_p95_ms: float | None = None
) -> ProbationLimits:
    """Merge what the release asks (first), the operator set and the board's profile allows (last)."""
    rate = config.max_error_rate if spec.max_error_rate is None else spec.max_error_rate
    return ProbationLimits(
        seconds=spec.seconds or config.seconds,
        frames=config.frames,
        max_error_rate=rate,
        max_p95_ms=spec.max_p95_ms or config.max_p95_ms or max_p95_ms,
        max_restarts=config.max_restarts,
    )


def judge(health: Health, limits: ProbationLimits) -> Verdict:
    """Decide on a model by its health so far; what cannot become good any more fails at once."""
    failure = _failure(health, limits)
    if failure:
        return failure
    is_over = health.seconds >= limits.seconds
    if is_over and health.frames >= limits.frames:
        return Verdict(Judgement.PASSED)
    if health.seconds >= PATIENCE * limits.seconds:
        reason = f"{health.frames} of at least {limits.frames} frames in {health.seconds:.0f} s"
        return Verdict(Judgement.FAILED, "probation.frames", reason)
    return Verdict(Judgement.CONTINUE)


def _failure(health: Health, limits: ProbationLimits) -> Verdict | None:
    # Few frames say little about a rate, but more errors than the whole window may have are too many.
    errors_allowed = limits.max_error_rate * max(health.frames, limits.frames)
    has_measure = health.frames >= max(limits.frames, 1)
    checks = (
        (health.restarts, limits.max_restarts, "restarts", "deaths of the worker"),
        (
            health.p95_ms if has_measure else 0.0,
            limits.max_p95_ms,
            "latency",
            "ms p95 of inference",
        ),
        (health.temperature_c, limits.max_temperature_c, "temperature", "degrees Celsius"),
    )
    if health.errors > errors_allowed:
        reason = f"{health.errors} of {health.frames} frames failed, at most {limits.max_error_rate:.0%} may"
        return Verdict(Judgement.FAILED, "probation.errors", reason)
    for found, most, code, what in checks:
        if found is not None and most is not None and found > most:
            reason = f"{found:g} {what}, at most {most:g} allowed"
            return Verdict(Judgement.FAILED, f"probation.{code}", reason)
    return None
