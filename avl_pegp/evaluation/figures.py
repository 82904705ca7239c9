"""Figures of results, made of plain arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avl_pegp.evaluation.metrics import AccuracyMatrix


def accuracy_over_time(panels: Mapping[str, list[AccuracyMatrix]], title: str) -> Figure:
    """Accuracy of each experience over time, one panel a method, side by side on the same axes.

    A line begins where its experience is learned and runs to the end of the stream: flat lines are
    kept knowledge. Early experiences are dark, late ones light; the dashed line is the mean over all
    experiences seen so far.

    Args:
        panels: for each method its accuracy matrices (shares), one a seed; they are averaged.
        title: above the panels.

    Returns:
        A figure, not shown and not saved.

    Raises:
        ValueError: no panel, or a panel without a matrix.
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels is empty or has an empty entry: give one matrix or more a method")
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
    for axis, (method, matrices) in zip(axes, panels.items(), strict=True):
        values = 100 * np.array(matrices, dtype=float).mean(axis=0)  # None becomes nan
        experiences = np.arange(1, len(values) + 1)
        for j in range(len(values)):
            shade = 0.75 * j / max(1, len(values) - 1)
            axis.plot(
                experiences[j:], values[j:, j], color=(shade, shade, 0.35 + 0.65 * shade), lw=1.4
            )
            axis.plot(experiences[j], values[j, j], "o", color="black", ms=3.5)
        axis.plot(experiences, np.nanmean(values, axis=1), color="#b34700", ls="--", lw=2.2)
        axis.set_title(f"{method}: {np.nanmean(values[-1]):.0f} % at the end", fontsize=11)
        axis.set_xlabel("experiences learned")
        axis.set_xticks(experiences)
        axis.set_ylim(-2, 102)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy on each experience (%)")
    axes[-1].plot([], [], "o", color="black", ms=3.5, label="just learned")
    axes[-1].plot([], [], color="#b34700", ls="--", lw=2.2, label="mean over all so far")
    axes[-1].legend(loc="lower left", fontsize=9, frameon=False)
    figure.suptitle(title)
    return figure


_MARKERS = ("o", "s", "^", "D", "v", "P")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito


def stability_plasticity(
    lines: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], title: str
) -> Figure:
    """Accuracy on what is new against forgetting of what is old, one panel and line a PET.

    Up and left is better. Each point has its label, and the standard deviation over seeds, where there
    are several.

    Args:
        lines: for each PET, in the order in which points are joined, a label and the values (shares) of
            forgetting and of new-task accuracy, one a seed. A label that begins with ``*`` is a point
            of its own, such as a control.
        title: above the figure.

    Returns:
        A figure, not shown and not saved.

    Raises:
        ValueError: no line, or a point without a value.

    Example:
        >>> points = {"energy 0.9": ([0.05], [0.9]), "*plain": ([0.3], [0.95])}
        >>> len(stability_plasticity({"lora": points}, "glyphs").axes)
        1
    """
    if not lines or not all(x and y for points in lines.values() for x, y in points.values()):
        raise ValueError("lines is empty or has an empty point: give one value or more a point")
    rows = math.ceil(len(lines) / 2)
    figure = Figure(figsize=(9, 1 + 3 * rows), layout="constrained")
    axes = figure.subplots(rows, min(2, len(lines)), sharex=True, sharey=True, squeeze=False).flat
    for i, (pet, points) in enumerate(lines.items()):
        style: dict[str, Any] = {"color": _COLOURS[i % 6], "marker": _MARKERS[i % 6], "ms": 6}
        _draw_line(axes[i], points, style)
        axes[i].set_title(pet)
    for axis in axes[len(lines) :]:
        axis.remove()
    figure.supxlabel("task-aware forgetting (points)")
    figure.supylabel("task-aware accuracy on new experiences (%)")
    figure.suptitle(title)
    return figure


def _draw_line(
    axis: Axes,
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    style: dict[str, Any],
) -> None:
    centres = {label: 100 * np.mean(values, axis=1) for label, values in points.items()}
    joined = [centre for label, centre in centres.items() if not label.startswith("*")]
    axis.plot(*np.array(joined).reshape(-1, 2).T, lw=1.5, **style)
    for label, (x, y) in centres.items():
        values = 100 * np.array(points[label], dtype=float)
        spread = values.std(axis=1, ddof=1) if values.shape[1] > 1 else np.zeros(2)
        control = label.startswith("*")
        fill: dict[str, Any] = {"mfc": "white"} if control else {}
        axis.errorbar(x, y, spread[1], spread[0], elinewidth=0.6, **style, **fill)
        shift = (6, -11) if control else (6, 5)
        axis.annotate(
            label.removeprefix("*"), (x, y), shift, textcoords="offset points", fontsize=8
        )
    axis.margins(x=0.15, y=0.1)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
