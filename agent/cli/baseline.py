"""`vigil release baseline`: how pictures and results are spread where a release is made, for devices to compare with."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.golden import load_variant
from agent.cli.output import AsJson, tell, write_json
from agent.cli.progress import with_progress
from agent.errors import ConfigError, PackageError
from agent.schema.drift import BASELINE_VERSION, QUANTILES, DriftBaseline

if TYPE_CHECKING:
    from agent.release.draft_file import DraftFile
    from agent.schema.drift import FrameFigures, PeriodBaseline
    from agent.vision.gallery import Picture


_SHOWN = ("brightness", "sharpness", "objects")


def baseline(
    draft: Annotated[Path, typer.Argument(help="Draft of the release (YAML).")],
    sources: Annotated[
        list[Path],
        typer.Option("--source", exists=True, help="Folder or video; repeatable: day and night."),
    ],
    frames: Annotated[int, typer.Option(min=20, help="Pictures of each source at most.")] = 400,
    night_below: Annotated[
        float, typer.Option(min=0, max=255, help="Mean grey level of darker pictures: night.")
    ] = 50.0,
    as_json: AsJson = False,
) -> None:
    """Run every variant of a draft over pictures and write how figures of them and of its results are spread.

    Choose what the cameras see in all weathers and lights; what is missing here is called drift on a device.
    Writes the file that the draft names as `drift_baseline`.
    """
    from agent.release.draft_file import read_draft

    wanted, folder = read_draft(draft), draft.resolve().parent
    if not wanted.drift_baseline:
        hint = "add `drift_baseline: baseline.json` to it"
        raise ConfigError(f"{draft}: names no file for the drift baseline", hint=hint)
    found = baseline_of(wanted, folder, sources, frames, night_below)
    path = folder / wanted.drift_baseline
    write_json(found, path)
    Console(stderr=as_json).print(_table(found))
    told = {
        variant: {name: {"pictures": one.frames, **_medians(one)} for name, one in periods.items()}
        for variant, periods in found.variants.items()
    }
    tell({"file": str(path), "medians": told}, f"{path}: written", as_json=as_json)


def baseline_of(
    draft: DraftFile, folder: Path, sources: list[Path], frames: int, night_below: float
) -> DriftBaseline:
    """Let every variant look at up to so many frames of each source.

    Raises:
        ModelError: A variant does not load or run.
        PackageError: There are too few pictures.
    """
    from agent.drift.baseline import LEAST_FRAMES, learn

    looked: dict[str, list[FrameFigures]] = defaultdict(list)
    total, pictures = _spread(sources, frames)
    looks = _look(draft, folder, pictures)
    for variant, figures in with_progress(looks, "Looking", total * len(draft.variants)):
        looked[variant].append(figures)
    found = DriftBaseline(
        v=BASELINE_VERSION,
        confidence=draft.golden.confidence,
        night_below=night_below,
        variants={variant: learn(seen, night_below) for variant, seen in looked.items()},
    )
    if not all(found.variants.values()):
        message = f"expected {LEAST_FRAMES} pictures of day or of night, found {total} in all"
        raise PackageError(message, hint="give more pictures, or a longer video")
    return found


def _spread(sources: list[Path], most: int) -> tuple[int, Iterator[Picture]]:
    """Return how many pictures are taken of all sources, spread evenly over each, and the pictures."""
    from agent.vision.gallery import open_source

    taken, parts = 0, []
    for source in sources:
        total, pictures = open_source(source)
        every = -(-total // most)
        taken += -(-total // every)
        parts.append(itertools.islice(pictures, 0, None, every))
    return taken, itertools.chain.from_iterable(parts)


def _look(
    draft: DraftFile, folder: Path, pictures: Iterator[Picture]
) -> Iterator[tuple[str, FrameFigures]]:
    from agent.vision.figures import figures_of
    from agent.vision.tracking import LOW_CONFIDENCE

    detectors = {one.id: load_variant(draft, one, folder) for one in draft.variants}
    for picture in pictures:
        for variant, detector in detectors.items():
            scaled = detector.letterbox.scale(picture.image)
            low = min(detector.confidence, LOW_CONFIDENCE)
            detected = detector.with_thresholds(low, detector.iou).detect_scaled(scaled)
            yield variant, figures_of(scaled, detected, detector.confidence)


def _table(found: DriftBaseline) -> Table:
    table = Table("variant", "period", "pictures", *_SHOWN)
    for variant, periods in found.variants.items():
        for name, period in periods.items():
            middles = [f"{value:.1f}" for value in _medians(period).values()]
            table.add_row(variant, name, str(period.frames), *middles)
    return table


def _medians(period: PeriodBaseline) -> dict[str, float]:
    return {figure: period.figures[figure][QUANTILES // 2] for figure in _SHOWN}
