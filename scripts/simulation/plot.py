"""Draws the curves of a simulated fleet: cost and waiting over the number of devices; level lines are costs that do not grow."""

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
        cpu.plot(sizes, [_cpu_ms(result, name) for result in results], "o-", label=name)
        memory.plot(sizes, [result[name]["rss_mb"] for result in results], "o-", label=name)
    for point in ("p50", "p99"):
        times = [result["answered_ms"].get(point, float("nan")) for result in results]
        answers.plot(sizes, times, "o-", label=point)
    back = [result["storm_s"] or float("nan") for result in results]
    storm.plot(sizes, back, "o-", label="after a broker restart")
    storm.plot(sizes, [result["joined_s"] for result in results], "o-", label="from nothing")
    titles = {
        cpu: ("CPU for each message", "ms"),
        memory: ("memory, what is always there included", "MB"),
        answers: ("command to last reply", "ms"),
        storm: ("until every device was seen", "s"),
    }
    for axes, (title, unit) in titles.items():
        axes.set(title=title, xlabel="devices", ylabel=unit, xscale="log")
        if axes in {memory, storm}:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)


def _cpu_ms(result: dict[str, Any], name: str) -> float:
    """Return a process's time on a core by the messages of that time."""
    per_message: float = 10 * result[name]["cpu_percent"] / result["messages_per_s"]
    return per_message
