"""Plots of measurements as PNG files, by matplotlib, which is not installed on devices (extra `report`)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.vision.accuracy import Accuracy

_RECALLS = np.linspace(0, 1, 101)
_NAMED_CURVES = 10
_NUMBERED_CELLS = 12


def require_plots() -> None:
    """Make sure that plots can be drawn, before a long measurement begins.

    Raises:
        ConfigError: `plots.missing`, naming the extra to install.
    """
    try:
        import matplotlib  # noqa: F401, ICN001 - only asked whether it is there
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib, which is not installed",
            code="plots.missing",
            hint="pip install 'vigil-agent[report]', or leave the plot away",
        ) from error


def precision_recall(accuracy: Accuracy, names: dict[int, str]) -> bytes:
    """Return precision over recall at IoU 0.50 as PNG: each class, and the mean of all."""
    figure, axes = _figure(9, 6)
    ordered = sorted(accuracy.classes, key=lambda one: -one.objects)
    for one in ordered[_NAMED_CURVES:]:
        axes.plot(_RECALLS, one.precision, linewidth=0.5, color="0.85")
    for one in ordered[:_NAMED_CURVES]:
        name = f"{names[one.label]} {one.map50:.3f}"
        axes.plot(_RECALLS, one.precision, linewidth=1, label=name)
    if accuracy.classes:
        mean = np.mean([one.precision for one in accuracy.classes], axis=0)
        label = f"all {len(accuracy.classes)} classes {accuracy.map50:.3f}"
        axes.plot(_RECALLS, mean, linewidth=3, color="black", label=label)
        axes.legend(fontsize="small", title="mAP50", loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xlabel="recall", ylabel="precision at IoU 0.50", xlim=(0, 1), ylim=(0, 1.02))
    return _png(figure)


def confusion_matrix(matrix: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """Return a confusion matrix, shape (classes + 1, classes + 1), as PNG; classes that never occur are left out."""
    shown = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    counts = matrix[np.ix_(shown, shown)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [[*names, "background"][place] for place in shown]
    side = 4 + 0.16 * len(labels)
    figure, axes = _figure(side + 1, side)
    figure.colorbar(
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of what is there"
    )
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set(xlabel="found", ylabel="there")
    if len(labels) <= _NUMBERED_CELLS:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 - half
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return _png(figure)


def rates(modes: Sequence[str], by_model: Sequence[tuple[str, Sequence[float | None]]]) -> bytes:
    """Return frames per second of each model in each of `modes` as PNG; None for a mode it was not measured in."""
    figure, axes = _figure(3 + 1.5 * len(by_model), 4)
    places, width = np.arange(len(by_model)), 0.8 / len(modes)
    for number, mode in enumerate(modes):
        measured = [(place, fps[number]) for place, (_, fps) in enumerate(by_model)]
        shown = [(place, fps) for place, fps in measured if fps is not None]
        left = [place + (number + 0.5) * width - 0.4 for place, _ in shown]
        bars = axes.bar(left, [fps for _, fps in shown], width, label=mode)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set_xticks(places, [name for name, _ in by_model], fontsize=7)
    axes.set(ylabel="frames per second")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of so many inches without any window system, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def steps_plot(
    names: Sequence[str],
    accuracy: Sequence[float | None],
    costs: Mapping[str, Sequence[float | None]],
) -> bytes:
    """Return accuracy and costs after each step as PNG: costs as shares of the first known one, which is not 0.

    Args:
        names: Of the steps, in their order.
        accuracy: mAP50-95 of each, None where it is not known.
        costs: By what is counted, one number a step; None where it is not known.
    """
    figure, axes = _figure(max(9, 1.6 * len(names)), 6)
    places = np.arange(len(names))
    width = 0.8 / len(costs)
    for number, (what, values) in enumerate(costs.items()):
        first = next((value for value in values if value), 1.0)
        shares = np.asarray(values, np.float64) / first
        axes.bar(places + (number + 0.5) * width - 0.4, shares, width, label=what)
    axes.plot(places, np.asarray(accuracy, np.float64), "o-", color="black", label="mAP50-95")
    axes.set(ylabel="share of the first; mAP50-95", ylim=(0, None))
    axes.set_xticks(places, names)
    axes.legend(loc="upper right")
    return _png(figure)
