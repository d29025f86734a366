"""What a benchmark found, as a document and as tables. Pure."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from agent.app.bench import Memory, Start
from agent.schema.messages import StageMs
from agent.vision.benchmark import Lap, Loaded, ModelFile
from agent.vision.timing import percentiles, stage_percentiles

MODES = ("raw", "streams", "serial", "pipelined")
_QUIET_LOAD = 0.6


class ModeReport(msgspec.Struct, frozen=True):
    """One mode over all rounds: median frames per second, CPU milliseconds a frame, stage times."""

    fps: float
    cpu_ms: float
    stages_ms: dict[str, StageMs]


class BenchReport(msgspec.Struct, frozen=True):
    """One model with one setting.

    Attributes:
        id: The variant's id in its manifest, or the file's name.
        sha256: Digest of the plain model file.
        streams: Frames that run at the same time in the pipeline; `threads` are all of theirs together.
        load: The machine's load average of the minute before; other work spoils every rate.
        infer_ms: p50 of the bare inference, with as many beside it as in the pipeline.
        pre_post_ms: p50 of what Vigil adds to it in each frame of the serial mode, without decoding.
        pipelined_of_raw: Median over the rounds of the pipeline's rate by the bare runtime's, which has all threads for
            one frame after the other.
        pipelined_of_streams: The same by the bare runtime's in as many streams as the pipeline; null with one.
        limit_fps: What the CPU time a frame allows on so many cores, at most the bare rate.
        modes: `raw`, `serial`, `pipelined`; and `streams`, the bare runtime in several streams, where there are several.
    """

    id: str
    model: str
    sha256: str
    source: str
    input: tuple[int, int]
    backend: str
    threads: int
    streams: int
    providers: list[str]
    cores: int
    load: float
    rounds: int
    infer_ms: float
    pre_post_ms: float
    pipelined_of_raw: float
    pipelined_of_streams: float | None
    limit_fps: float
    limit_of_raw: float
    modes: dict[str, ModeReport]
    memory: Memory
    start: Start

    @property
    def bare(self) -> ModeReport:
        """Return the bare runtime as the pipeline runs it."""
        return _bare(self.modes)


class Effect(msgspec.Struct, frozen=True):
    """Another setting that was measured in the same run: bare inferences a second, by those of the one in question."""

    setting: str
    fps: float
    gain: float


class Explanation(msgspec.Struct, frozen=True):
    """Why a model runs as fast as it does here.

    Attributes:
        bottleneck: The stage with the greatest share of a frame's time, frame after frame; `share` is that.
        causes: What holds it back, worst first; empty where nothing but the stage itself does.
        effects: What other settings give, the best first.
        advice: What to do.
        fleet: How the pipeline stands to the fleet's devices with the same board and variant, one line for a release.
    """

    bottleneck: str
    share: float
    causes: list[str]
    effects: list[Effect]
    advice: list[str]
    fleet: list[str] = []


class BenchDocument(msgspec.Struct, frozen=True):
    """What `--json` gives; `measurements` are milliseconds per inference by variant id, as `choose` takes them."""

    runs: list[BenchReport]
    measurements: dict[str, float]
    explanations: dict[str, Explanation] = {}


Laps = dict[str, list[Lap]]


@dataclass(frozen=True)
class Measured:
    """What the processes gave: laps by mode in the order of the rounds, memory in the first of them."""

    loaded: Loaded
    laps: Laps
    memory: Memory
    start: Start
    load: float


def mode_report(laps: Sequence[Lap]) -> ModeReport:
    """Sum up the laps of one mode."""
    frames = [stages for lap in laps for stages in lap.stages_ms]
    return ModeReport(
        fps=round(statistics.median(lap.fps for lap in laps), 2),
        cpu_ms=round(1000 * sum(lap.cpu_s for lap in laps) / len(frames), 3),
        stages_ms=stage_percentiles(frames),
    )


def pre_post_ms(laps: Sequence[Lap]) -> float:
    """Return the median of pre plus post over all frames."""
    sums = [stages["pre"] + stages["post"] for lap in laps for stages in lap.stages_ms]
    return percentiles(sums).p50


def median_ratio(laps: Laps, bare: str = "raw") -> float:
    """Return the pipeline's rate by that of a mode without it: each round by itself, then the median."""
    rounds = zip(laps["pipelined"], laps[bare], strict=True)
    return round(statistics.median(one.fps / other.fps for one, other in rounds), 4)


def _bare(modes: dict[str, ModeReport]) -> ModeReport:
    return modes.get("streams", modes["raw"])


def limit_fps(modes: dict[str, ModeReport], cores: int) -> float:
    """Return how many frames a second the CPU time of one allows, at most as many as the bare runtime."""
    raw, bare = modes["raw"], _bare(modes)
    cpu_ms = modes["serial"].cpu_ms - raw.cpu_ms + bare.cpu_ms
    return round(min(bare.fps, 1000 * cores / cpu_ms), 2)


def sum_up(name: str, file: ModelFile, measured: Measured) -> BenchReport:
    """Return the figures of one model with one setting on this machine."""
    laps, cores = measured.laps, len(os.sched_getaffinity(0))
    modes = {mode: mode_report(laps[mode]) for mode in laps}
    limit = limit_fps(modes, cores)
    spec = measured.loaded.input
    return BenchReport(
        id=name,
        model=file.path,
        sha256=hashlib.sha256(Path(file.path).read_bytes()).hexdigest(),
        source=file.source,
        input=(spec.width, spec.height),
        backend=measured.loaded.backend,
        threads=file.threads,
        streams=file.streams,
        providers=file.providers,
        cores=cores,
        load=round(measured.load, 2),
        rounds=len(laps["raw"]),
        infer_ms=_bare(modes).stages_ms["infer"].p50,
        pre_post_ms=pre_post_ms(laps["serial"]),
        pipelined_of_raw=median_ratio(laps),
        pipelined_of_streams=median_ratio(laps, "streams") if "streams" in laps else None,
        limit_fps=limit,
        limit_of_raw=round(limit / modes["raw"].fps, 4),
        modes=modes,
        memory=measured.memory,
        start=measured.start,
    )


def is_disturbed(run: BenchReport) -> bool:
    """Return whether other work had a good part of the cores when the run began."""
    return run.load > _QUIET_LOAD * run.cores


def measurements(runs: Sequence[BenchReport]) -> dict[str, float]:
    """Return milliseconds per inference by variant id; of several settings the fastest counts."""
    fastest: dict[str, float] = {}
    for run in runs:
        fastest[run.id] = min(run.infer_ms, fastest.get(run.id, run.infer_ms))
    return fastest


def setting_of(run: BenchReport) -> str:
    """Return model and setting in a few words."""
    streams = [f"in {run.streams} streams"] if run.streams > 1 else []
    return " ".join([run.id, f"x{run.threads}", *streams, *run.providers])


def overview(runs: Sequence[BenchReport]) -> Table:
    """Return one line for each run."""
    table = Table(title="Frames per second", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("model", "threads", *MODES, "of raw", "limit"):
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for run in runs:
        rates = [f"{run.modes[mode].fps:.1f}" if mode in run.modes else "" for mode in MODES]
        shares = (f"{run.pipelined_of_raw:.3f}", f"{run.limit_of_raw:.3f}")
        count = f"{run.threads} in {run.streams}" if run.streams > 1 else str(run.threads)
        threads = " ".join([count, *run.providers])
        table.add_row(run.id, threads, *rates, *shares)
    return table


def stages(run: BenchReport) -> Table:
    """Return the stage times of one run, mode by mode."""
    table = Table("mode", "stage", "p50 ms", "p95 ms", "p99 ms", title=f"{run.id}: stages")
    for mode, report in run.modes.items():
        for stage, ms in report.stages_ms.items():
            figures = (f"{value:.2f}" for value in (ms.p50, ms.p95, ms.p99))
            table.add_row(mode, stage, *figures)
        table.add_section()
    return table


def facts(run: BenchReport) -> str:
    """Return memory, start and overhead of one run in words."""
    memory, start = run.memory, run.start
    return (
        f"input {run.input[0]}x{run.input[1]}; pre + post {run.pre_post_ms:.2f} ms; memory (PSS) control {memory.control_pss_mb:.0f} + worker "
        f"{memory.worker_pss_mb:.0f} = {memory.sum_pss_mb:.0f} MiB (resident {memory.control_rss_mb:.0f} + "
        f"{memory.worker_rss_mb:.0f}); first result {start.first_result_ms:.0f} ms after the worker's start, "
        f"{start.over_load_ms:.0f} ms over the runtime's load of {start.load_ms:.0f} ms"
    )
