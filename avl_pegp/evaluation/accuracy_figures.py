"""Figures of accuracy matrices, made of plain arrays.

Each returns a figure, not shown and not saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from avl_pegp.evaluation.look import (
    CONTRAST,
    count_on,
    legend_below,
    panels_of,
    say_in,
    shade,
    shaded_cells,
    style_of,
    tidy,
)
from avl_pegp.evaluation.metrics import AccuracyMatrix

Matrices = Mapping[str, Sequence[AccuracyMatrix]]
Array = NDArray[np.float64]
_NUMBERS_UP_TO = 10  # experiences; beyond, numbers would run into each other


def accuracy_heat_map(panels: Matrices, title: str) -> Figure:
    """Accuracy on each experience (across) after each (down), one panel a method.

    A column that stays as light as its first square is kept knowledge. What was not measured is left
    white. Up to ten experiences have their numbers.

    Args:
        panels: for each method its accuracy matrices (shares), one a seed; they are averaged.
        title: above the panels.

    Raises:
        ValueError: no panel, a panel without a matrix, or matrices of different size in one.

    Example:
        >>> figure = accuracy_heat_map({"PEGP": [[[0.9, None], [0.8, 0.7]]]}, "digits")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['90', '80', '70']
    """
    means = _averaged(panels)
    figure, axes = panels_of(len(means), title, size=(4.5, 4.0))
    for axis, (name, values) in zip(axes, means.items(), strict=True):
        image = shaded_cells(axis, values, name, top=100)
        axis.set_aspect("equal")
        axis.set_xlabel("accuracy on experience")
        if len(values) <= _NUMBERS_UP_TO:
            _write_numbers(axis, values)
    axes[0].set_ylabel("after learning experience")
    figure.colorbar(image, ax=axes, label="accuracy (%)", shrink=0.8)
    return figure


def accuracy_over_time(panels: Matrices, title: str) -> Figure:
    """Accuracy of each experience over time, one panel a method, side by side on the same axes.

    A line begins where its experience is learned and runs to the end of the stream: flat lines are
    kept knowledge. Early experiences are dark, late ones light; the dashed line is the mean over all
    experiences seen so far.

    Args:
        panels: for each method its accuracy matrices (shares), one a seed; they are averaged.
        title: above the panels.

    Raises:
        ValueError: no panel, a panel without a matrix, or matrices of different size in one.
    """
    means = _averaged(panels)
    figure, axes = panels_of(len(means), title, columns=len(means))
    for axis, (name, values) in zip(axes, means.items(), strict=True):
        experiences = np.arange(1, len(values) + 1)
        over_all = _mean(values, 1)
        for j in range(len(values)):
            axis.plot(experiences[j:], values[j:, j], color=shade(j, len(values)), lw=1.4)
        axis.plot(experiences, values.diagonal(), "o", color="black", ms=3.5, label="just learned")
        axis.plot(
            experiences, over_all, color=CONTRAST, ls="--", lw=2.2, label="mean over all so far"
        )
        tidy(axis, f"{name}: {over_all[-1]:.0f} % at the end")
        axis.set_xlabel("experiences learned")
        count_on(axis.xaxis)
        axis.set_ylim(-2, 102)
    axes[0].set_ylabel("accuracy on each experience (%)")
    legend_below(figure, axes[-1:])
    return figure


def accuracy_and_forgetting(methods: Matrices, title: str) -> Figure:
    """Mean accuracy so far, and forgetting so far, after each experience; one line a method.

    Forgetting after experience i is the mean over earlier ones of the best accuracy before i minus
    that after i, as ``avl_pegp.evaluation.forgetting`` has it at the end. The band is the standard
    deviation over seeds; a method of one seed has none. Where all are, the figure says so, and where
    there is but one experience.

    Args:
        methods: for each its accuracy matrices (shares), one a seed.
        title: above the panels.

    Raises:
        ValueError: no method, one without a matrix, or matrices of different size in one.

    Example:
        >>> figure = accuracy_and_forgetting({"PEGP": [[[0.9, None], [0.8, 0.7]]]}, "digits")
        >>> figure.axes[0].lines[0].get_ydata().round(1).tolist()
        [90.0, 75.0]
    """
    stacked = _stacked(methods)
    figure, axes = panels_of(2, title, sharey=False)
    axes[1].sharex(axes[0])
    for i, (name, values) in enumerate(stacked.items()):
        lower = np.where(np.tri(values.shape[1], dtype=bool), values, np.nan)
        for axis, curves in zip(axes, (_mean(lower, 2), _forgetting(lower)), strict=True):
            _draw_curves(axis, curves, name, i)
    spread = any(len(values) > 1 for values in stacked.values())
    tidy(axes[0], "band: deviation over seeds" if spread else "one seed: no spread")
    tidy(axes[1])
    if all(values.shape[1] == 1 for values in stacked.values()):
        say_in(axes[1], "one experience: nothing to forget yet")
    axes[0].set_ylabel("mean accuracy so far (%)")
    axes[1].set_ylabel("forgetting (points)")
    for axis in axes:
        axis.set_xlabel("experiences learned")
        count_on(axis.xaxis)
    legend_below(figure, axes[:1])
    return figure


def _draw_curves(axis: Axes, curves: Array, name: str, i: int) -> None:
    """The mean of curves ``(seeds, T)`` and a band of their deviation, where there are several."""
    experiences = np.arange(1, curves.shape[1] + 1)
    centre, style = _mean(curves, 0), style_of(i)
    axis.plot(
        experiences, centre, label=name, lw=1.6, ms=4, markevery=1 + len(centre) // 20, **style
    )
    if len(curves) > 1:
        spread = curves.std(axis=0, ddof=1)
        axis.fill_between(
            experiences, centre - spread, centre + spread, color=style["color"], alpha=0.15, lw=0
        )


def _forgetting(values: Array) -> Array:
    """``(seeds, T, T)`` to ``(seeds, T)``; NaN after the first experience, which has no earlier one."""
    best = np.fmax.accumulate(values, axis=1)  # passes over what was not measured
    lost = np.full_like(values, np.nan)
    lost[:, 1:] = best[:, :-1] - values[:, 1:]
    return _mean(lost, 2)


def _stacked(panels: Matrices) -> dict[str, Array]:
    """Percent, ``(seeds, T, T)`` for each name; what is ``None`` becomes NaN."""
    if not panels or not all(panels.values()):
        raise ValueError("panels is empty or has an empty entry: give one matrix or more a method")
    for name, matrices in panels.items():
        sizes = {(len(matrix), *map(len, matrix)) for matrix in matrices}
        if len({size for sizes_of_one in sizes for size in sizes_of_one}) > 1:
            raise ValueError(
                f"panels has matrices of different size for {name}, or not square ones: must be one "
                "row and column an experience, of the same stream"
            )
    return {name: 100 * np.array(matrices, dtype=float) for name, matrices in panels.items()}


def _averaged(panels: Matrices) -> dict[str, Array]:
    """Percent, ``(T, T)`` for each name: the mean over seeds."""
    return {name: _mean(values, 0) for name, values in _stacked(panels).items()}


def _mean(values: Array, axis: int) -> Array:
    """The mean of what is there along an axis; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis)
    total = np.where(there, values, 0).sum(axis)
    mean: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _write_numbers(axis: Axes, values: Array) -> None:
    for i, j in np.argwhere(np.isfinite(values)):
        colour = "black" if values[i, j] > 55 else "white"
        axis.text(
            j + 1, i + 1, f"{values[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=8
        )
