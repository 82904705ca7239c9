"""Figures of accuracy: matrices over time, and stability against plasticity, of plain arrays.

Each returns a figure, not shown and not saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray

from avl_pegp.evaluation import look
from avl_pegp.evaluation.metrics import AccuracyMatrix

Matrices = Mapping[str, Sequence[AccuracyMatrix]]
Values = tuple[Sequence[float], Sequence[float]]  # of forgetting and of new-task accuracy
Points = Mapping[str, Values]
Array = NDArray[np.float64]
_NUMBERS_UP_TO = 10  # experiences; beyond, numbers would run into each other
_TOUCHING = (0.03, 0.04)  # of a panel's width and height: points that are drawn on each other
_MARKER = 4  # pixels from a point's centre to its edge
_SIDES = (  # of a point, in points, the first choice first; and how text is aligned there
    *((6, 5, "left", "bottom"), (6, -5, "left", "top")),
    *((-6, 5, "right", "bottom"), (-6, -5, "right", "top")),
)


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
    stacked = _stacked(panels)
    figure, axes = look.panels_of(len(stacked), title, size=(4.5, 4.0))
    for axis, (name, seeds) in zip(axes, stacked.items(), strict=True):
        values = _mean(seeds, 0)
        image = look.shaded_cells(axis, values, name, top=100)
        axis.set_aspect("equal")
        axis.set_xlabel("accuracy on experience")
        for i, j in np.argwhere(np.isfinite(values)) if len(values) <= _NUMBERS_UP_TO else ():
            colour, words = "black" if values[i, j] > 55 else "white", f"{values[i, j]:.0f}"
            axis.text(j + 1, i + 1, words, ha="center", va="center", color=colour, fontsize=8)
    axes[0].set_ylabel("after learning experience")
    figure.colorbar(image, ax=axes, label="accuracy (%)", shrink=0.8)
    return figure


def accuracy_over_time(panels: Matrices, title: str) -> Figure:
    """Accuracy of each experience over time, one panel a method, side by side on the same axes.

    A line begins where its experience is learned and runs to the end of the stream: flat lines are
    kept knowledge. Early experiences are dark, late ones light; the dashed line is the mean over all
    experiences seen so far. Arguments and errors as in ``accuracy_heat_map``.
    """
    stacked = _stacked(panels)
    figure, axes = look.panels_of(len(stacked), title, columns=len(stacked))
    for axis, (name, seeds) in zip(axes, stacked.items(), strict=True):
        values = _mean(seeds, 0)
        experiences, over_all = np.arange(1, len(values) + 1), _mean(values, 1)
        for j in range(len(values)):
            axis.plot(experiences[j:], values[j:, j], color=look.shade(j, len(values)), lw=1.4)
        axis.plot(experiences, values.diagonal(), "o", color="black", ms=3.5, label="just learned")
        axis.plot(
            experiences,
            over_all,
            color=look.CONTRAST,
            ls="--",
            lw=2.2,
            label="mean over all so far",
        )
        look.tidy(axis, f"{name}: {over_all[-1]:.0f} % at the end", counting="experiences learned")
        axis.set_ylim(-2, 102)
    axes[0].set_ylabel("accuracy on each experience (%)")
    look.legend_below(figure, axes[-1:])
    return figure


def accuracy_and_forgetting(methods: Matrices, title: str) -> Figure:
    """Mean accuracy so far, and forgetting so far, after each experience; one line a method.

    Forgetting after experience i is the mean over earlier ones of the best accuracy before i minus
    that after i, as ``avl_pegp.evaluation.forgetting`` has it at the end. The band is the standard
    deviation over seeds; a method of one seed has none. Where all are, the figure says so, and where
    there is but one experience. Arguments and errors as in ``accuracy_heat_map``.

    Example:
        >>> figure = accuracy_and_forgetting({"PEGP": [[[0.9, None], [0.8, 0.7]]]}, "digits")
        >>> figure.axes[0].lines[0].get_ydata().round(1).tolist()
        [90.0, 75.0]
    """
    stacked = _stacked(methods)
    figure, axes = look.panels_of(2, title, sharey=False)
    axes[1].sharex(axes[0])
    for i, (name, values) in enumerate(stacked.items()):
        lower = np.where(np.tri(values.shape[1], dtype=bool), values, np.nan)
        for axis, curves in zip(axes, (_mean(lower, 2), _forgetting(lower)), strict=True):
            _draw_curves(axis, curves, name, i)
    spread = any(len(values) > 1 for values in stacked.values())
    words = "band: deviation over seeds" if spread else "one seed: no spread"
    look.tidy(axes[0], words, counting="experiences learned")
    look.tidy(axes[1], counting="experiences learned")
    if all(values.shape[1] == 1 for values in stacked.values()):
        look.say_in(axes[1], "one experience: nothing to forget yet")
    axes[0].set_ylabel("mean accuracy so far (%)")
    axes[1].set_ylabel("forgetting (points)")
    look.legend_below(figure, axes[:1])
    return figure


def _draw_curves(axis: Axes, curves: Array, name: str, i: int) -> None:
    """The mean of curves ``(seeds, T)`` and a band of their deviation, where there are several."""
    experiences = np.arange(1, curves.shape[1] + 1)
    centre, style = _mean(curves, 0), look.style_of(i)
    every = 1 + len(centre) // 20
    axis.plot(experiences, centre, label=name, lw=1.6, ms=4, markevery=every, **style)
    if len(curves) > 1:
        spread = curves.std(axis=0, ddof=1)
        band = (centre - spread, centre + spread)
        axis.fill_between(experiences, *band, color=style["color"], alpha=0.15, lw=0)


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
        if len({size for matrix in matrices for size in (len(matrix), *map(len, matrix))}) > 1:
            raise ValueError(
                f"panels has matrices of different size for {name}, or not square ones: must be one "
                "row and column an experience, of the same stream"
            )
    return {name: 100 * np.array(matrices, dtype=float) for name, matrices in panels.items()}


def _mean(values: Array, axis: int) -> Array:
    """The mean of what is there along an axis; NaN where nothing is."""
    mean: Array = np.ma.masked_invalid(values).mean(axis).filled(np.nan)
    return mean


def stability_plasticity(lines: Mapping[str, Points], title: str) -> Figure:
    """Accuracy on what is new against forgetting of what is old, one panel and line a PET.

    Up and left is better. Each point has its label, which it shares with points that it lies on, and
    the standard deviation over seeds, where there are several. Where no points are joined, a legend
    has the labels.

    Args:
        lines: for each PET, in the order in which points are joined, a label and the values (shares) of
            forgetting and of new-task accuracy, one a seed. A label that begins with ``*`` is a point
            of its own, such as a control.
        title: above the figure.

    Raises:
        ValueError: no line, or a point without a value.

    Example:
        >>> points = {"energy 0.9": ([0.05], [0.9]), "*plain": ([0.3], [0.95])}
        >>> len(stability_plasticity({"lora": points}, "glyphs").axes)
        1
    """
    if not lines or not all(x and y for points in lines.values() for x, y in points.values()):
        raise ValueError("lines is empty or has an empty point: give one value or more a point")
    figure, axes = look.panels_of(len(lines), title)
    labels = list(dict.fromkeys(label for points in lines.values() for label in points))
    are_joined = any(not label.startswith("*") for label in labels)
    for i, (pet, points) in enumerate(lines.items()):
        axes[i].sharex(axes[0])
        own = {**look.style_of(i), "ms": 6}
        if are_joined:
            joined = [_centre(xy) for label, xy in points.items() if not label.startswith("*")]
            axes[i].plot(*np.array(joined).reshape(-1, 2).T, lw=1.5, **own)
        for label, values in points.items():
            style: dict[str, Any] = {**own, "mfc": "white"} if label.startswith("*") else own
            if not are_joined:
                alone = {"ls": "", "ms": 7, "mec": "white", "mew": 0.6}
                style = {
                    **look.style_of(labels.index(label)),
                    **alone,
                    "label": label.removeprefix("*"),
                }
            _draw_point(axes[i], values, style)
        look.tidy(axes[i], pet)
        axes[i].margins(x=0.15, y=0.1)
        axes[i].set_xlabel("task-aware forgetting (points)")
        if i % 2 == 0:
            axes[i].set_ylabel("accuracy on new experiences (%)")
    if are_joined:
        figure.draw_without_rendering()  # from here on all have one scale, and their places
        for axis, points in zip(axes, lines.values(), strict=True):
            _label(axis, points)
    else:
        look.legend_below(figure, axes, columns=2 * min(2, len(lines)))
    return figure


def _centre(values: Values) -> Any:
    """The mean over seeds, in percent."""
    return 100 * np.mean(values, axis=1)


def _draw_point(axis: Axes, values: Values, style: dict[str, Any]) -> None:
    """The mean, with the deviation over seeds both ways, where there are several."""
    x, y = 100 * np.array(values, dtype=float)
    right, up = (x.std(ddof=1), y.std(ddof=1)) if len(x) > 1 else (0.0, 0.0)
    axis.errorbar(x.mean(), y.mean(), xerr=right, yerr=up, elinewidth=0.6, **style)


def _label(axis: Axes, points: Points) -> None:
    """Each point's label beside it; points that are drawn on each other share one."""
    reach = np.multiply(_TOUCHING, np.ptp([axis.get_xlim(), axis.get_ylim()], axis=1))
    places = {label: _centre(values) for label, values in points.items()}
    shared: list[list[str]] = []
    for label, place in places.items():
        near = (ls for ls in shared if any((abs(place - places[at]) < reach).all() for at in ls))
        touching = next(near, None)
        if touching is None:
            shared.append(touching := [])
        touching.append(label)
    spots = axis.transData.transform([*places.values()])
    for labels in shared:
        words = ", ".join(look.shortened(label.removeprefix("*"), 24) for label in labels)
        _put_beside(axis, look.shortened(words, 40), places[labels[0]], spots)


def _put_beside(axis: Axes, words: str, place: Any, spots: Any) -> None:
    """Write at the side of a place where this harms least; ``spots`` are all points, in pixels."""
    others = [text.get_window_extent() for text in axis.texts]
    drawn = [line.get_path() for line in axis.lines]
    drawn += [path for bars in axis.collections for path in bars.get_paths()]
    paths = [path.transformed(axis.transData) for path in drawn]

    def harm(text: Annotation) -> tuple[bool, int, int]:
        """Unreadable is worse than to hide a point, and this is worse than a line across."""
        box = text.get_window_extent()
        is_lost = box.count_overlaps(others) > 0 or axis.bbox.count_contains(box.corners()) < 4
        crossed = sum(path.intersects_bbox(box, filled=False) for path in paths)
        return is_lost, box.padded(_MARKER).count_contains(spots), crossed

    texts = [
        axis.annotate(words, place, (x, y), textcoords="offset points", ha=ha, va=va, fontsize=8)
        for x, y, ha, va in _SIDES
    ]
    best = min(texts, key=harm)
    for text in texts:
        if text is not best:
            text.remove()
