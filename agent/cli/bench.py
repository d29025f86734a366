"""`vigil bench`: how much of the runtime's speed is left in the real pipeline, and what it costs."""

from __future__ import annotations

import itertools
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace
from rich.console import Console

import agent
from agent.cli.detect import Backend, Family, read_labels
from agent.cli.output import STDOUT, write_file, write_json
from agent.cli.progress import with_progress
from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.cli.bench_report import BenchDocument, BenchReport, Explanation, Laps
    from agent.vision.benchmark import ModelFile

_FILM = Path(agent.__file__).parent / "demo" / "bundled" / "conveyor.mp4"
_ROUNDS = 5
_LEGEND = (
    "raw: inference alone on a filled buffer; serial: decode, pre, infer, post one after the other; "
    "pipelined: the worker itself. limit: share of raw that the CPU time of one frame allows on these cores."
)


def bench(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    model: Annotated[
        list[str], typer.Option(help="A model file, or ID=FILE with a variant's id; repeatable.")
    ],
    source: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A video.")] = _FILM,
    seconds: Annotated[float, typer.Option(min=0.5, help="Time for each mode.")] = 15.0,
    threads: Annotated[
        list[int], typer.Option(min=1, help="CPU threads of the runtime; repeatable.")
    ] = [2],  # noqa: B006
    providers: Annotated[
        list[str],
        typer.Option(help="ONNX Runtime providers, separated by commas; repeatable."),
    ] = [""],  # noqa: B006
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Compare every model with every setting.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what the speed is owed to, and what would help.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file; - prints them.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the comparison to this PNG file.")] = None,
    family: Annotated[
        Family | None, typer.Option(help="How outputs are decoded, if the file is silent.")
    ] = None,
    backend: Annotated[
        Backend | None, typer.Option(help="Runtime, if the file does not show it.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(exists=True, help="Class names, one a line.")
    ] = None,
) -> None:
    """Compare the bare runtime, frame after frame and the real pipeline, side by side in one run."""
    from agent.cli.bench_report import BenchDocument, measurements, setting_of
    from agent.vision.benchmark import ModelFile

    settings = list(itertools.product(map(_named, model), threads, providers))
    if len(settings) > 1 and not sweep:
        raise ConfigError(f"found {len(settings)} settings", hint="compare them with --sweep")
    if plot is not None:
        # Only then: it loads NumPy, which a control process never has.
        from agent.vision.plots import require_plots

        require_plots()
    stated = ModelFile(
        path="",
        source=str(source),
        threads=0,
        backend=backend.value if backend else None,
        family=family.value if family else None,
        labels=read_labels(labels) if labels else None,
    )
    runs, explanations = [], {}
    for (name, path), count, provider in settings:
        file = replace(stated, path=str(path), threads=count, providers=_split(provider))
        runs.append(_measure(name, file, seconds))
        if explain:
            explanations[setting_of(runs[-1])] = _explain(runs[-1], file, seconds / _ROUNDS)
    _report(BenchDocument(runs, measurements(runs), explanations), json_file, plot)


def _measure(name: str, file: ModelFile, seconds: float) -> BenchReport:
    from agent.cli.bench_report import MODES, Measured, sum_up
    from agent.cli.contest import PipelineProcess, Reference

    load = os.getloadavg()[0]
    be_like_the_agent()
    # Recognised by a process that ends again: a third one would share pages and flatter the figures.
    with Reference(file) as probe:
        loaded = probe.loaded
    lap_s = seconds / _ROUNDS
    laps: Laps = {mode: [] for mode in MODES}
    with PipelineProcess(file, loaded) as pipeline:
        pipeline.lap(lap_s)
        memory = pipeline.memory
        with Reference(file) as reference:
            run = {"pipelined": pipeline.lap}
            run |= {mode: partial(reference.lap, mode) for mode in MODES if mode not in run}
            for mode in with_progress(_turns(MODES), f"Measuring {name}", _ROUNDS * len(MODES)):
                laps[mode].append(run[mode](lap_s))
    return sum_up(name, file, Measured(loaded, laps, memory, pipeline.start, load))


def _explain(run: BenchReport, file: ModelFile, lap_s: float) -> Explanation:
    """Read the board while it is warm, and measure the bare runtime with other numbers of threads."""
    from agent.cli.bench_explain import Board, explain
    from agent.cli.contest import Reference
    from agent.host.frequency import cpu_clock
    from agent.host.throttling import power_mode, throttling

    board = Board(cpu_clock(), throttling().now, power_mode())
    others = {}
    for count in sorted({1, run.cores} - {file.threads}):
        with Reference(replace(file, threads=count)) as reference:
            others[f"--threads {count}"] = reference.lap("raw", lap_s).fps
    return explain(run, board, others)


def _turns(modes: Sequence[str]) -> Iterator[str]:
    """Yield every mode in each round, another one first each time, so that no mode has the quiet minutes."""
    for number in range(_ROUNDS):
        place = number % len(modes)
        yield from (*modes[place:], *modes[:place])


def be_like_the_agent() -> None:
    """Load what a control process has loaded, so that this one is as large as a real one."""
    import agent.app  # noqa: F401


def _report(document: BenchDocument, json_file: Path | None, plot: Path | None) -> None:
    from agent.cli.bench_explain import told
    from agent.cli.bench_report import MODES, facts, is_disturbed, overview, setting_of, stages

    if plot is not None:
        from agent.vision.plots import rates

        shown = [
            (setting_of(run), [run.modes[mode].fps for mode in MODES]) for run in document.runs
        ]
        write_file(plot, rates(MODES, shown))
    if json_file is not None:
        write_json(document, json_file)
    if json_file == STDOUT:
        return
    console = Console()
    for run in document.runs:
        console.print(stages(run))
        console.print(f"{run.id}: {facts(run)}", markup=False, highlight=False)
    console.print(overview(document.runs))
    console.print(_LEGEND, highlight=False)
    by_setting = {setting_of(run): run for run in document.runs}
    for setting, found in document.explanations.items():
        for line in told(by_setting[setting], found):
            console.print(line, markup=False, highlight=False)
    if is_disturbed(document.runs[0]):
        load = f"load average {document.runs[0].load} on {document.runs[0].cores} cores"
        console.print(f"Other work was running ({load}): do not trust these rates.", style="yellow")


def _named(text: str) -> tuple[str, Path]:
    """Return id and file of `ID=FILE` or `FILE`, whose id is its name."""
    name, equals, path = text.rpartition("=")
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{file}: no such model file", hint="--model FILE or --model ID=FILE")
    return (name if equals else file.stem), file


def _split(providers: str) -> list[str]:
    return [name for name in providers.split(",") if name]
