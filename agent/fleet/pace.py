"""How quick devices that are alike are, and which are slower: medians over the same kind of board and model. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.schema.pace import SLOW, FleetPace, medians, slowest

LEAST_DEVICES = 3


@dataclass(frozen=True)
class Pace:
    """One device's medians per stage, milliseconds, and whom it is comparable with: profile, release and variant."""

    device: str
    kind: tuple[str, str, str]
    stages_ms: Mapping[str, float]


@dataclass(frozen=True)
class Slow:
    """The stage in which a device is slowest beside its peers: milliseconds, their median, and how many they are."""

    stage: str
    ms: float
    usual_ms: float
    alike: int

    @property
    def times(self) -> float:
        """How many times the median it takes."""
        return self.ms / self.usual_ms

    def __str__(self) -> str:
        return f"{self.stage} {self.ms:.0f} ms, {self.times:.1f} times the median of {self.alike} alike"


def slower(paces: Iterable[Pace]) -> dict[str, Slow]:
    """Return by device the stage in which it is slowest beside its peers; only devices that are slow.

    Slow is `SLOW` times the median of at least `LEAST_DEVICES` devices, itself among them, and 2 ms more.
    """
    found = {}
    for peers in _kinds(paces):
        usual_ms = medians((pace.stages_ms for pace in peers), LEAST_DEVICES)
        for pace in peers:
            stage, times = slowest(pace.stages_ms, usual_ms)
            if times >= SLOW:
                ms = pace.stages_ms[stage]
                found[pace.device] = Slow(stage, ms, usual_ms[stage], len(peers))
    return found


def usual(paces: Iterable[Pace]) -> list[FleetPace]:
    """Return the medians of every kind of which there are `LEAST_DEVICES` devices."""
    found = []
    for peers in _kinds(paces):
        profile, release, variant = peers[0].kind
        stages_ms = medians((one.stages_ms for one in peers), LEAST_DEVICES)
        found.append(
            FleetPace(
                profile=profile,
                release=release,
                variant=variant,
                devices=len(peers),
                stages_ms=stages_ms,
            )
        )
    return found


def _kinds(paces: Iterable[Pace]) -> Iterator[Sequence[Pace]]:
    kinds: dict[tuple[str, str, str], list[Pace]] = defaultdict(list)
    for pace in paces:
        kinds[pace.kind].append(pace)
    return (peers for _, peers in sorted(kinds.items()) if len(peers) >= LEAST_DEVICES)
