"""Candidate models that devices judge beside their running ones (`docs/shadow.md`): what the fleet makes of each. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.schema.shadow import ShadowProgress, ShadowState

_TEXT = 120


@dataclass(frozen=True)
class Beside:
    """One device's newest shadow run in short.

    Attributes:
        candidate: Release and variant.
        is_running: Whether frames are still compared.
        agreement: Objects that both models see, of those that any sees, in [0, 1]; None before the first.
    """

    candidate: str
    is_running: bool
    frames: int
    of_frames: int
    agreement: float | None


def beside(run: ShadowProgress) -> Beside:
    """Return a run in short; the device chose its words, so they are cut."""
    return Beside(
        candidate=f"{run.candidate} {run.variant}"[:_TEXT],
        is_running=run.state is ShadowState.RUNNING,
        frames=run.frames,
        of_frames=run.of_frames,
        agreement=run.agreement,
    )


def by_candidate(runs: Iterable[tuple[str, Beside]], most: int) -> list[dict[str, Any]]:
    """Return a line for each of the `most` candidates that most devices judge, from runs by device.

    Its `agreement` is the mean over devices, each counted by its frames; `least` is the device that agrees least.
    """
    kinds: dict[str, list[tuple[str, Beside]]] = defaultdict(list)
    for device, run in runs:
        kinds[run.candidate].append((device, run))
    largest = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))[:most]
    return [_line(name, found) for name, found in largest]


def _line(name: str, found: list[tuple[str, Beside]]) -> dict[str, Any]:
    known = [
        (run.agreement, device, run.frames) for device, run in found if run.agreement is not None
    ]
    weight = sum(frames for _, _, frames in known)
    least = min(known, default=None)
    return {
        "candidate": name,
        "devices": len(found),
        "running": sum(run.is_running for _, run in found),
        "frames": sum(run.frames for _, run in found),
        "of_frames": sum(run.of_frames for _, run in found),
        "agreement": sum(share * frames for share, _, frames in known) / weight if weight else None,
        "least": least and {"id": least[1], "agreement": least[0]},
    }
