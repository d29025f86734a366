"""What a simulated fleet's measurement leaves: the figures of one size."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Cost:
    """A process's part of one core, percent, and its memory."""

    cpu_percent: float
    rss_mb: float


@dataclass
class Result:
    """One fleet's figures.

    Attributes:
        joined_s: From the first device's start until the controller saw all of them.
        messages_per_s: What devices sent, states and measurements.
        lost: Measurements that devices sent and the controller never saw; none may be missing after storms either.
        answered_ms: From sending a command to the device's last reply: p50, p95, p99, greatest.
        storm_s: From the broker's end until the controller saw every device again; 0 where none was made. It was away
            for `away_s`, and all devices were connected after `connected_s`; what is left is the controller's own way back.
        simulator: All light devices together: where they need more than is left, the figures are theirs.
        refused: Subscriptions that the broker refused; devices ask again a minute later, as real ones do.
        rollout: See `shelf.Campaign.figures`, with the cost of each process.
        late: What did not happen in time, with what was missing.
        load: Of this machine, the mean over a minute, at the start and at the end.
    """

    devices: int
    interval_s: float
    broker_name: str
    tls: bool
    joined_s: float = 0.0
    messages_per_s: float = 0.0
    answered_ms: dict[str, float] = field(default_factory=dict)
    commands: int = 0
    unanswered: int = 0
    controller: Cost | None = None
    broker: Cost | None = None
    simulator: Cost | None = None
    away_s: float = 0.0
    connected_s: float = 0.0
    storm_s: float = 0.0
    storm: dict[str, Cost] = field(default_factory=dict)
    refused: int = 0
    sent: int = 0
    lost: int = 0
    repeated: int = 0
    rollout: dict[str, Any] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    load: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])


def costs_of(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], took_s: float
) -> dict[str, Cost]:
    """Return each process's cost between two looks; one that was started in between counts from its start."""
    costs = {}
    for name, (cpu_s, rss_mb) in after.items():
        used_s = cpu_s - before[name][0] if cpu_s >= before[name][0] else cpu_s
        costs[name] = Cost(round(100 * used_s / took_s, 1), round(rss_mb, 1))
    return costs


def percentiles(taken_ms: list[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the greatest; nothing of fewer than two."""
    if len(taken_ms) < 2:  # noqa: PLR2004 - quantiles need two
        return {}
    cuts = statistics.quantiles(taken_ms, n=100, method="inclusive")
    named = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(taken_ms)}
    return {name: round(value, 1) for name, value in named.items()}
