"""Stability against plasticity, made of plain numbers.

Each returns a figure, not shown and not saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from avl_pegp.evaluation.look import legend_below, panels_of, shortened, style_of, tidy

Points = Mapping[str, tuple[Sequence[float], Sequence[float]]]
_TOUCHING = (0.03, 0.04)  # of a panel's width and height: points that are drawn on each other
_MARKER = 4  # pixels from a point's centre to its edge
_SIDES = ((6, 5), (6, -5), (-6, 5), (-6, -5))  # of a point, in points, the first choice first


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
    figure, axes = panels_of(len(lines), title)
    labels = list(dict.fromkeys(label for points in lines.values() for label in points))
    are_joined = any(not label.startswith("*") for label in labels)
    for i, (pet, points) in enumerate(lines.items()):
        axes[i].sharex(axes[0])
        if are_joined:
            _draw_line(axes[i], points, {**style_of(i), "ms": 6})
        else:
            _draw_points(axes[i], points, {label: style_of(k) for k, label in enumerate(labels)})
        tidy(axes[i], pet)
        axes[i].margins(x=0.15, y=0.1)
        axes[i].set_xlabel("task-aware forgetting (points)")
        if i % 2 == 0:
            axes[i].set_ylabel("accuracy on new experiences (%)")
    if are_joined:
        figure.draw_without_rendering()  # from here on all have one scale, and their places
        for axis, points in zip(axes, lines.values(), strict=True):
            _label(axis, points)
    else:
        legend_below(figure, axes, columns=2 * min(2, len(lines)))
    return figure


def _draw_line(axis: Axes, points: Points, style: dict[str, Any]) -> None:
    """Joined points, and controls as hollow ones beside them."""
    joined = [_centre(values) for label, values in points.items() if not label.startswith("*")]
    axis.plot(*np.array(joined).reshape(-1, 2).T, lw=1.5, **style)
    for label, values in points.items():
        fill: dict[str, Any] = {"mfc": "white"} if label.startswith("*") else {}
        _draw_point(axis, values, {**style, **fill})


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
        words = ", ".join(shortened(label.removeprefix("*"), 24) for label in labels)
        _put_beside(axis, shortened(words, 40), places[labels[0]], spots)


def _put_beside(axis: Axes, words: str, place: Any, spots: Any) -> None:
    """Write at the side of a place where this harms least; ``spots`` are all points, in pixels."""
    others = [text.get_window_extent() for text in axis.texts]
    sides = [
        axis.annotate(
            words,
            place,
            (x, y),
            ha="left" if x > 0 else "right",
            va="bottom" if y > 0 else "top",
            textcoords="offset points",
            fontsize=8,
        )
        for x, y in _SIDES
    ]
    drawn = [line.get_path() for line in axis.lines]
    drawn += [path for bars in axis.collections for path in bars.get_paths()]
    paths = [path.transformed(axis.transData) for path in drawn]

    def harm(text: Annotation) -> tuple[bool, int, int]:
        """Unreadable is worse than to hide a point, and this is worse than a line across."""
        box = text.get_window_extent()
        is_lost = box.count_overlaps(others) > 0 or axis.bbox.count_contains(box.corners()) < 4
        crossed = sum(path.intersects_bbox(box, filled=False) for path in paths)
        return is_lost, box.padded(_MARKER).count_contains(spots), crossed

    best = min(sides, key=harm)
    for text in sides:
        if text is not best:
            text.remove()


def _centre(values: tuple[Sequence[float], Sequence[float]]) -> Any:
    """The mean over seeds, in percent."""
    return 100 * np.mean(values, axis=1)


def _draw_points(axis: Axes, points: Points, styles: Mapping[str, dict[str, Any]]) -> None:
    for label, values in points.items():
        style = {**styles[label], "ls": "", "ms": 7, "mec": "white", "mew": 0.6}
        _draw_point(axis, values, style, label=label.removeprefix("*"))


def _draw_point(
    axis: Axes, values: tuple[Sequence[float], Sequence[float]], style: dict[str, Any], **more: Any
) -> None:
    """The mean, with the deviation over seeds both ways, where there are several."""
    x, y = 100 * np.array(values, dtype=float)
    right, up = (x.std(ddof=1), y.std(ddof=1)) if len(x) > 1 else (0.0, 0.0)
    axis.errorbar(x.mean(), y.mean(), xerr=right, yerr=up, elinewidth=0.6, **style, **more)
