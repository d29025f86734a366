"""Draws the governor's traces into docs/images: replayed boards, and a live one from `scripts/show_governor`.

PYTHONPATH=. python scripts/plot_governor.py [--live trace.csv]

The boards are those of tests/governor/test_thermal.py; their decisions are the device's own.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.governor.test_thermal import DEVICES, HOURS
from tests.parts.thermal import Device, Sample

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
WARM, COOL, GREY = "#c0392b", "#2471a3", "#7f8c8d"


def steps(axes: Axes, minutes: list[float], rungs: list[int], names: list[str]) -> None:
    """Draw rungs as a staircase, the best on top."""
    axes.step(minutes, rungs, where="post", color=COOL)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", alpha=0.3)


def limit(axes: Axes, value: float, text: str) -> None:
    """Draw a limit with its name."""
    axes.axhline(value, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(text, (0.005, value), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)


def replayed(name: str, device: Device) -> None:
    """Draw temperature, rung and latency of a board's day."""
    trace: list[Sample] = list(device.live(HOURS * 3600))[::10]
    minutes = [sample.at_s / 60 for sample in trace]
    figure, (heat, rung, late) = plt.subplots(
        3, 1, sharex=True, figsize=(8, 6), layout="constrained"
    )
    heat.plot(minutes, [sample.temperature_c for sample in trace], color=WARM, label="board")
    ambient = [device.day.ambient_c(sample.at_s) for sample in trace]
    heat.plot(minutes, ambient, color=GREY, label="ambient")
    limit(heat, device.limits.temperature_c, "cap")
    heat.set_ylabel("°C")
    heat.legend(fontsize=8, loc="center right")
    heat.set_title(f"{device.board.name} (thermal model), replayed through the device's decisions")
    steps(rung, minutes, [sample.rung for sample in trace], [one.name for one in device.ladder])
    late.plot(minutes, [sample.p95_ms for sample in trace], color=COOL)
    limit(late, device.limits.latency_ms, "limit")
    late.set_ylabel("p95, ms")
    late.set_ylim(0, 1.15 * device.limits.latency_ms)
    late.set_xlabel("minutes")
    figure.savefig(FOLDER / f"governor-{name}.png", dpi=80)


def live(path: Path) -> None:
    """Draw latency, rung and burners of a real run."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = [float(row["s"]) for row in rows]
    names = list(dict.fromkeys(row["rung"] for row in rows))
    figure, (late, rung, load) = plt.subplots(
        3, 1, sharex=True, figsize=(8, 6), layout="constrained"
    )
    late.plot(seconds, [float(row["p95_ms"] or "nan") for row in rows], color=COOL)
    late.set_ylabel("p95, ms")
    late.set_title("A real agent while other processes take the processor away")
    steps(rung, seconds, [names.index(row["rung"]) for row in rows], names)
    load.plot(seconds, [float(row["load1"]) for row in rows], color=WARM, label="load average")
    burners = [float(row["burners"]) for row in rows]
    load.fill_between(seconds, burners, step="post", alpha=0.2, color=WARM, label="burners")
    load.legend(fontsize=8)
    load.set_xlabel("seconds")
    figure.savefig(FOLDER / "governor-live.png", dpi=80)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=Path, help="trace of scripts/show_governor")
    arguments = parser.parse_args()
    for name, device in DEVICES.items():
        replayed(name, device)
    if arguments.live:
        live(arguments.live)


if __name__ == "__main__":
    main()
