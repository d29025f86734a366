"""Draws the curves of a simulated fleet: cost and waiting over the number of devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(results: list[dict[str, Any]], target: Path) -> None:
    """Write a picture (PNG) with four curves."""
    sizes = [result["devices"] for result in results]
    figure, ((cpu, memory), (answers, storm)) = plt.subplots(2, 2, figsize=(10, 7))
    for name in ("controller", "broker", "simulator"):
        cpu.plot(sizes, [result[name]["cpu_percent"] for result in results], "o-", label=name)
        memory.plot(sizes, [result[name]["rss_mb"] for result in results], "o-", label=name)
    for point in ("p50", "p99"):
        times = [result["answered_ms"].get(point, float("nan")) for result in results]
        answers.plot(sizes, times, "o-", label=point)
    back = [result["storm_s"] or float("nan") for result in results]
    storm.plot(sizes, back, "o-", label="after a broker restart")
    storm.plot(sizes, [result["joined_s"] for result in results], "o-", label="from nothing")
    titles = {
        cpu: ("CPU, percent of a core", "%"),
        memory: ("memory", "MB"),
        answers: ("command to last reply", "ms"),
        storm: ("until every device was seen", "s"),
    }
    for axes, (title, unit) in titles.items():
        axes.set(title=title, xlabel="devices", ylabel=unit, xscale="log")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)
