"""Figures of results, made of plain arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
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
