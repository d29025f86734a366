"""What a benchmark's speed is owed to: stage, threads, clock, throttling, other work; and what would help. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.cli.bench_report import BenchReport, Effect, Explanation, is_disturbed
from agent.host.frequency import CpuClock
from agent.schema.pace import FleetPace, beside

# From this share of the bare runtime's rate on, what surrounds it costs nothing that matters.
_NO_LOSS = 0.95
# A clock this far below its maximum, while there is work, is held down.
_FULL_CLOCK = 0.9
# Another setting is worth naming from this gain on.
_GAIN = 1.03
_THREADS = "--threads"


@dataclass(frozen=True)
class Board:
    """The machine while it was measured."""

    clock: CpuClock | None
    throttled: Sequence[str]
    power_mode: str


def explain(
    run: BenchReport, board: Board, others: Mapping[str, float], fleet: Sequence[str] = ()
) -> Explanation:
    """Say what the speed of `run` is owed to.

    Args:
        run: What was measured.
        board: The machine meanwhile.
        others: Bare inferences a second of other settings, by their name.
        fleet: How it stands to others like it.
    """
    medians = {name: stage.p50 for name, stage in run.modes["serial"].stages_ms.items()}
    bottleneck = max(medians, key=lambda name: medians[name])
    bare = run.bare.fps
    effects = [Effect(name, round(fps, 1), round(fps / bare, 3)) for name, fps in others.items()]
    effects.sort(key=lambda effect: -effect.gain)
    return Explanation(
        bottleneck=bottleneck,
        share=round(medians[bottleneck] / sum(medians.values()), 3),
        causes=list(_causes(run, board)),
        effects=effects,
        advice=list(_advice(bottleneck, effects)),
        fleet=list(fleet),
    )


def effects_of(run: BenchReport, runs: Sequence[BenchReport]) -> dict[str, float]:
    """Return the bare rates of the other models in the same command that ran as this one did, by words that name them."""
    return {
        f"{other.id} ({other.input[0]}x{other.input[1]}, {other.backend})": other.bare.fps
        for other in runs
        if other.id != run.id and _alike(other, run)
    }


def _alike(one: BenchReport, other: BenchReport) -> bool:
    settings = [(run.threads, run.streams, run.providers) for run in (one, other)]
    return settings[0] == settings[1]


def beside_fleet(run: BenchReport, alike: Sequence[FleetPace]) -> list[str]:
    """Return how the pipeline's stages stand to the medians of devices with this board, for each release with such a variant."""
    stages_ms = {name: stage.p50 for name, stage in run.modes["pipelined"].stages_ms.items()}
    return [
        f"{one.release} {one.variant}: {beside(stages_ms, one)}"
        for one in alike
        if one.variant == run.id
    ]


def _causes(run: BenchReport, board: Board) -> Iterator[str]:
    if board.throttled:
        yield f"the board throttles: {', '.join(board.throttled)}"
    clock = board.clock
    if clock is not None and clock.now_mhz < _FULL_CLOCK * clock.max_mhz:
        mode = f", power mode {board.power_mode}" if board.power_mode else ""
        yield (
            f"a core runs at {clock.now_mhz:.0f} of {clock.max_mhz:.0f} MHz"
            f" (cpufreq governor {clock.governor or 'unknown'}{mode})"
        )
    if is_disturbed(run):
        yield f"other work was running: load average {run.load} on {run.cores} cores"
    if run.pipelined_of_raw < _NO_LOSS:
        loss = f"the pipeline reaches {run.pipelined_of_raw:.0%} of the bare runtime"
        if run.limit_of_raw < _NO_LOSS:
            loss += (
                f"; these cores allow {run.limit_of_raw:.0%}, because decoding needs some of them"
            )
        yield loss


def _advice(bottleneck: str, effects: Sequence[Effect]) -> Iterator[str]:
    better = [effect for effect in effects if effect.gain >= _GAIN]
    if better:
        yield f"{better[0].setting}: {better[0].gain:.2f} times the inferences, measured just now"
    if bottleneck == "infer" and all(effect.setting.startswith(_THREADS) for effect in effects):
        yield "a smaller input or INT8 (`vigil release quantise`): give it as a further --model with --sweep to measure it"
    elif bottleneck == "capture":
        yield "a smaller or hardware-decoded stream: most of a frame's time goes into decoding it"
    elif bottleneck != "infer":
        yield f"most of a frame's time goes into {bottleneck}: a smaller picture, or a higher confidence"


def told(run: BenchReport, found: Explanation) -> Iterator[str]:
    """Yield the explanation as lines for a person."""
    yield f"{run.id}: {found.bottleneck} takes {found.share:.0%} of a frame's time"
    for cause in found.causes:
        yield f"  held back: {cause}"
    if not found.causes:
        yield "  nothing else holds it back: no throttling, full clock, no other work"
    for line in found.fleet:
        yield f"  beside the fleet: {line}"
    for effect in found.effects:
        yield f"  {effect.setting}: {effect.fps} inferences a second, {effect.gain:.2f} times"
    for advice in found.advice:
        yield f"  try: {advice}"
