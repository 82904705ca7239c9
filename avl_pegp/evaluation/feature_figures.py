"""Figures of what a model makes of images: features in the plane, attention on learned tokens.

Figures are returned, not shown and not saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from avl_pegp.evaluation.look import (
    COLOURS,
    MARKERS,
    count_on,
    legend_below,
    panels_of,
    shaded_cells,
    shortened,
    style_of,
    tidy,
)

Array = NDArray[np.float64]
_NAMED_UP_TO = 40  # classes; beyond, names would cover the points


def in_the_plane(features: Mapping[str, ArrayLike], seed: int = 0) -> dict[str, Array]:
    """Sets of features laid out in one plane by one t-SNE, so that they can be compared.

    scikit-learn's t-SNE (van der Maaten & Hinton, 2008) with its defaults, and a perplexity of 30 or a
    third of the points where they are few. Distances within the plane count, its axes mean nothing.

    Args:
        features: by name, ``(n, D)`` each; n may differ.
        seed: of the layout.

    Returns:
        By name ``(n, 2)``.

    Raises:
        ValueError: fewer than four points in all, widths that differ, or values that are not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> plane = in_the_plane({"new": rng.random((5, 3)), "at the end": rng.random((4, 3))})
        >>> plane["at the end"].shape
        (4, 2)
    """
    from sklearn.manifold import TSNE  # takes a second

    sets = {name: np.asarray(values, dtype=float) for name, values in features.items()}
    shapes = {name: values.shape for name, values in sets.items()}
    widths = {shape[1:] for shape in shapes.values()}
    points = sum(shape[0] for shape in shapes.values())
    if points < 4 or len(widths) != 1 or len(*widths) != 1:
        raise ValueError(
            f"features have shapes {shapes}: must be (n, D), one D, with four rows or more in all"
        )
    together = np.concatenate([*sets.values()])
    if not np.isfinite(together).all():
        raise ValueError("features have NaN or infinite values: look for a diverged weight")
    layout = TSNE(perplexity=min(30, (points - 1) / 3), random_state=seed).fit_transform(together)
    ends = np.cumsum([len(values) for values in sets.values()])[:-1]
    return dict(zip(sets, np.split(layout.astype(float), ends), strict=True))


def feature_map(
    panels: Mapping[str, ArrayLike],
    labels: Sequence[int],
    title: str,
    *,
    names: Mapping[int, str] | None = None,
    columns: int = 2,
) -> Figure:
    """The same images as points in the plane, one panel a model or moment, on the same axes.

    A class has its colour and marker, and up to forty have their name at the centre. Clusters that stay
    where they were are features kept; clusters that move or run together are what statistics and
    classifiers stored earlier no longer fit.

    Args:
        panels: by title ``(n, 2)``, as ``in_the_plane`` gives them; the points in the same order.
        labels: ``(n,)``, the class of each point.
        title: above the panels.
        names: of classes; a class without one has its number.
        columns: panels in a row.

    Raises:
        ValueError: no panel, or points and labels that are not equally many.

    Example:
        >>> plane = np.array([[0.0, 0.0], [1.0, 1.0]])
        >>> len(feature_map({"new": plane, "at the end": plane}, [0, 1], "digits").axes)
        2
    """
    shapes = {name: np.shape(points) for name, points in panels.items()}
    if not panels or set(shapes.values()) != {(len(labels), 2)}:
        raise ValueError(f"panels have shapes {shapes}: must be ({len(labels)}, 2), a row a label")
    figure, axes = panels_of(len(panels), title, columns=columns, size=(4.5, 4.2))
    for axis, (name, points) in zip(axes, panels.items(), strict=True):
        axis.sharex(axes[0])
        _draw_classes(axis, np.asarray(points, dtype=float), np.asarray(labels), names or {})
        tidy(axis, name)
        axis.tick_params(labelbottom=False, labelleft=False, length=0)
    return figure


def _draw_classes(axis: Axes, points: Array, labels: Array, names: Mapping[int, str]) -> None:
    classes = np.unique(labels)
    for i, c in enumerate(classes):
        of_class = points[labels == c]
        style: dict[str, Any] = {
            "c": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        axis.scatter(of_class[:, 0], of_class[:, 1], s=14, alpha=0.7, lw=0, **style)
        if len(classes) <= _NAMED_UP_TO:
            box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
            name = shortened(names.get(int(c), str(c)), 16)
            axis.annotate(name, np.median(of_class, axis=0), fontsize=9, ha="center", bbox=box)


def attention_mass(panels: Mapping[str, ArrayLike], title: str) -> Figure:
    """How much attention prefix or prompt tokens receive: by block, then by block and token.

    First panel: the share of all attention that lies on learned tokens, mean over heads, each head a
    small dot; one line a model or moment. The others: the same by block and token. A prefix that
    nobody looks at does nothing; one that takes all attention hides the image.

    Args:
        panels: by title ``(blocks, H, L)``: shares (0..1) as ``token_mass`` gives them, stacked.
        title: above the panels.

    Raises:
        ValueError: no panel, or not of that shape.

    Example:
        >>> figure = attention_mass({"PEGP": np.full((6, 4, 5), 0.01)}, "digits")
        >>> figure.axes[0].lines[0].get_ydata().round(1).tolist()
        [5.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    """
    masses = {name: 100 * np.asarray(mass, dtype=float) for name, mass in panels.items()}
    shapes = {name: mass.shape for name, mass in masses.items()}
    if not masses or any(len(shape) != 3 or 0 in shape for shape in shapes.values()):
        raise ValueError(f"panels have shapes {shapes}: must be (blocks, heads, tokens)")
    figure = Figure(figsize=(4.2 * (1 + len(masses)), 4.2), layout="constrained")
    total, *maps = figure.subplots(1, 1 + len(masses))
    top = max(mass.mean(1).max() for mass in masses.values())
    for i, (axis, (name, mass)) in enumerate(zip(maps, masses.items(), strict=True)):
        _draw_total(total, mass, name, i)
        image = shaded_cells(axis, mass.mean(1), name, top=top, first_row=0)
        axis.set_xlabel("learned token")
    maps[0].set_ylabel("block")
    figure.colorbar(image, ax=maps, label="attention (%)", shrink=0.8)
    figure.suptitle(shortened(title, 34 * (1 + len(masses))))
    tidy(total, "all learned tokens")
    total.set(xlabel="block", ylabel="share of all attention (%)", ylim=(0, None))
    count_on(total.xaxis)
    legend_below(figure, [total])
    return figure


def _draw_total(axis: Axes, mass: Array, name: str, i: int) -> None:
    """The share on all tokens by block: the mean over heads a line, each head a dot."""
    heads, style = mass.sum(2), style_of(i)
    blocks = np.arange(len(heads))
    axis.plot(blocks, heads.mean(1), label=name, lw=1.6, ms=5, **style)
    for head in heads.T:
        axis.scatter(blocks, head, s=6, color=style["color"], alpha=0.6, zorder=3)
