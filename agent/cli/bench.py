"""`vigil bench`: how much of the runtime's speed is left in the real pipeline, and what it costs."""

from __future__ import annotations

import contextlib
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
from agent.cli.output import STDOUT, writable, write_file, write_json
from agent.cli.progress import with_progress
from agent.errors import ConfigError
from agent.schema.values import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.cli.bench_explain import Board
    from agent.cli.bench_report import BenchDocument, BenchReport, Laps
    from agent.schema.pace import FleetPace, FleetPaces
    from agent.schema.profile import DeviceProfile
    from agent.vision.benchmark import Lap, ModelFile

_FILM = Path(agent.__file__).parent / "demo" / "bundled" / "conveyor.mp4"
_ROUNDS = 5
_LEGEND = (
    "raw: inference alone on a filled buffer, all threads for one frame; streams: the same for several frames at the same "
    "time, which share the threads; serial: decode, pre, infer, post one after the other; pipelined: the worker itself. "
    "limit: share of raw that the CPU time of one frame allows on these cores."
)


def bench(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    model: Annotated[
        list[str], typer.Option(help="A model file, or ID=FILE with a variant's id; repeatable.")
    ] = [],  # noqa: B006
    installed: Annotated[
        Path | None,
        typer.Option(help="A device's configuration: all variants of its release that lie on it."),
    ] = None,
    source: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, show_default="the demo's conveyor", help="A video."
        ),
    ] = _FILM,
    seconds: Annotated[float, typer.Option(min=0.5, help="Time for each mode.")] = 15.0,
    threads: Annotated[
        list[int],
        typer.Option(min=1, max=MAX_THREADS, help="CPU threads of the runtime; repeatable."),
    ] = [2],  # noqa: B006
    streams: Annotated[
        list[int],
        typer.Option(
            min=1,
            max=MAX_THREADS,
            show_default="as this board's profile has it",
            help="Frames at the same time, which share the threads, one each at least; repeatable.",
        ),
    ] = [],  # noqa: B006
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
    fleet: Annotated[
        Path | None, typer.Option(help="With --explain: what `vigil fleet pace --json` wrote.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            dir_okay=False,
            callback=writable,
            help="Write the figures to this file; - prints them.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(callback=writable, help="Draw the comparison to this PNG file.")
    ] = None,
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
    from agent.cli.fleet_pace import read_paces
    from agent.vision.benchmark import ModelFile

    paces = read_paces(fleet) if fleet else None
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
    with _candidates(model, installed, stated) as files:
        shares = _shares(threads, streams or [_profile().runtime.streams])
        settings = list(itertools.product(files, shares, providers))
        if len(settings) > 1 and not (sweep or installed):
            raise ConfigError(f"found {len(settings)} settings", hint="compare them with --sweep")
        asked = [
            (name, replace(file, threads=count, streams=at_once, providers=_split(provider)))
            for (name, file), (count, at_once), provider in settings
        ]
        document = _run(asked, seconds, explain=explain, paces=paces)
    _report(document, json_file, plot)


def _shares(threads: Sequence[int], streams: Sequence[int]) -> list[tuple[int, int]]:
    """Return each number of threads with each of streams, of which there are at most as many, once."""
    pairs = itertools.product(threads, streams)
    return list(dict.fromkeys((count, min(at_once, count)) for count, at_once in pairs))


def _profile() -> DeviceProfile:
    from agent.host.board import read_facts
    from agent.models.profiles import load_profiles, recognise

    return recognise(read_facts(), load_profiles())


@contextlib.contextmanager
def _candidates(
    models: Sequence[str], installed: Path | None, stated: ModelFile
) -> Iterator[list[tuple[str, ModelFile]]]:
    if not models and installed is None:
        raise ConfigError("no model is named", hint="--model FILE, or --installed CONFIG")
    named = [(name, replace(stated, path=str(path))) for name, path in map(_named, models)]
    if installed is None:
        yield named
        return
    from agent.cli.bench_installed import variants_here

    with variants_here(installed, stated) as found:
        yield [*named, *found]


def _run(
    asked: Sequence[tuple[str, ModelFile]],
    seconds: float,
    *,
    explain: bool,
    paces: FleetPaces | None,
) -> BenchDocument:
    from agent.cli.bench_explain import beside_fleet, effects_of
    from agent.cli.bench_explain import explain as explained
    from agent.cli.bench_report import BenchDocument, measurements, setting_of

    runs, boards, others = [], [], []
    for name, file in asked:
        runs.append(_measure(name, file, seconds))
        if explain:
            boards.append(_board())
            others.append(_other_shares(runs[-1], file, seconds / _ROUNDS))
    alike = _alike(paces) if paces is not None and explain else []
    explanations = {
        setting_of(run): explained(
            run, board, effects_of(run, runs) | threads, beside_fleet(run, alike)
        )
        for run, board, threads in zip(runs, boards, others, strict=False)
    }
    return BenchDocument(runs, measurements(runs), explanations)


def _alike(paces: FleetPaces) -> list[FleetPace]:
    """Return the fleet's medians of boards like this one."""
    profile = _profile().name
    return [one for one in paces.paces if one.profile == profile]


def _measure(name: str, file: ModelFile, seconds: float) -> BenchReport:
    from agent.cli.bench_report import Measured, sum_up
    from agent.cli.contest import PipelineProcess, Reference

    load, alone = os.getloadavg()[0], replace(file, streams=1)
    with Reference(alone) as probe:
        loaded = probe.started
    lap_s = seconds / _ROUNDS
    with contextlib.ExitStack() as processes:
        pipeline = processes.enter_context(PipelineProcess(file, loaded))
        pipeline.lap(lap_s)
        memory = pipeline.memory
        reference = processes.enter_context(Reference(alone))
        run: dict[str, Callable[[float], Lap]] = {
            mode: partial(reference.lap, mode) for mode in ("raw", "serial")
        }
        if file.streams > 1:
            run["streams"] = partial(processes.enter_context(Reference(file)).lap, "raw")
        run["pipelined"] = pipeline.lap
        laps: Laps = {mode: [] for mode in run}
        for mode in with_progress(_turns([*run]), f"Measuring {name}", _ROUNDS * len(run)):
            laps[mode].append(run[mode](lap_s))
    return sum_up(name, file, Measured(loaded, laps, memory, pipeline.started, load))


def _board() -> Board:
    """Read the board while it is warm."""
    from agent.cli.bench_explain import Board
    from agent.host.frequency import cpu_clock
    from agent.host.throttling import power_mode, throttling

    return Board(cpu_clock(), throttling().now, power_mode())


def _other_shares(run: BenchReport, file: ModelFile, lap_s: float) -> dict[str, float]:
    """Measure the bare runtime with other numbers of threads and streams."""
    from agent.cli.contest import Reference

    shares = {(1, 1), (run.cores, 1), (run.cores, run.cores)} - {(file.threads, file.streams)}
    others = {}
    for threads, streams in sorted(shares):
        with Reference(replace(file, threads=threads, streams=streams)) as reference:
            name = f"--threads {threads} --streams {streams}"
            others[name] = reference.lap("raw", lap_s).fps
    return others


def _turns(modes: Sequence[str]) -> Iterator[str]:
    """Yield every mode in each round, another one first each time, so that no mode has the quiet minutes."""
    for number in range(_ROUNDS):
        place = number % len(modes)
        yield from (*modes[place:], *modes[:place])


def _report(document: BenchDocument, json_file: Path | None, plot: Path | None) -> None:
    from agent.cli.bench_explain import told
    from agent.cli.bench_report import MODES, facts, is_disturbed, overview, setting_of, stages

    if plot is not None:
        from agent.vision.plots import rates

        modes = [mode for mode in MODES if any(mode in run.modes for run in document.runs)]
        write_file(plot, rates(modes, [_bars(run, modes) for run in document.runs]))
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


def _bars(run: BenchReport, modes: Sequence[str]) -> tuple[str, list[float | None]]:
    from agent.cli.bench_report import setting_of

    return setting_of(run), [run.modes[mode].fps if mode in run.modes else None for mode in modes]


def _named(text: str) -> tuple[str, Path]:
    """Return id and file of `ID=FILE` or `FILE`, whose id is its name."""
    name, equals, path = text.rpartition("=")
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{file}: no such model file", hint="--model FILE or --model ID=FILE")
    return (name if equals else file.stem), file


def _split(providers: str) -> list[str]:
    return [name for name in providers.split(",") if name]
