"""What all figures share: told apart in grey, by colour-blind eyes, and however long the names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from avalanche.evaluation.metric_results import TensorImage
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# Okabe and Ito, without the yellow that white paper swallows
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (4.0, 1.2, 1.0, 1.2, 1.0, 1.2)))  # five: no divisor with eight
SHADES = "cividis"  # from dark to light, also in grey
CONTRAST = "#d55e00"  # on top of shades
_ROOM_FOR_LEGEND = 0.7  # inches of a figure: three rows


def style_of(i: int) -> dict[str, Any]:
    """Colour, marker and line of the i-th of many lines.

    No two of the first 40 have the same marker and the same line: they are told apart in grey too. Of
    points without a line only eight are; no two of the first 56 have the same marker and colour.

    Example:
        >>> style_of(0)["marker"] == style_of(8)["marker"], style_of(0)["ls"] == style_of(8)["ls"]
        (True, False)
    """
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "ls": LINES[i % len(LINES)],
    }


def shade(i: int, count: int) -> Any:
    """The colour of the i-th of ``count`` in an order, dark to light; never as light as paper."""
    return colormaps[SHADES](0.85 * i / max(1, count - 1))


def panels_of(
    count: int,
    title: str,
    *,
    columns: int = 2,
    size: tuple[float, float] = (4.5, 3.4),
    sharey: bool = True,
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of this size (inches), row by row, under a title."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, 0.5 + size[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    figure.suptitle(shortened(title, 24 * columns + 24))
    return figure, axes[:count]


def tidy(axis: Axes, title: str = "", *, counting: str = "") -> None:
    """A pale grid and no frame above and to the right; the axis below may be counting something."""
    axis.set_title(shortened(title, 40), fontsize=11)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if counting:
        axis.set_xlabel(counting)
        count_on(axis.xaxis)


def say_in(axis: Axes, words: str) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axis.text(0.5, 0.5, words, ha="center", transform=axis.transAxes)


def count_on(axis: Any) -> None:
    """Whole numbers on an ``XAxis`` or ``YAxis``, only as many as are readable."""
    axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def shaded_cells(
    axis: Axes, values: NDArray[np.float64], title: str, *, top: float, first_row: int = 1
) -> AxesImage:
    """Values ``(rows, columns)`` from 0 to ``top`` as squares, dark to light; columns count from 1."""
    rows, columns = values.shape
    ends = (0.5, columns + 0.5, first_row + rows - 0.5, first_row - 0.5)
    image = axis.imshow(values, SHADES, vmin=0, vmax=top, extent=ends, aspect="auto")
    tidy(axis, title)
    axis.grid(visible=False)
    count_on(axis.xaxis)
    count_on(axis.yaxis)
    return image


def legend_below(figure: Figure, axes: list[Axes], columns: int = 3) -> None:
    """What is drawn in any of these panels, explained once under all of them.

    It has ``columns`` or as many as the figure is wide enough for. A long one makes the figure higher,
    so that nothing is taken from the panels.
    """
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    given = {"handles": [*found.values()], "labels": [shortened(name) for name in found]}
    look = {"loc": "outside lower center", "fontsize": 9, "frameon": False}
    legend = figure.legend(**given, ncols=columns, **look)
    while columns > 1 and legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        columns -= 1
        legend = figure.legend(**given, ncols=columns, **look)
    height = legend.get_window_extent().height / figure.dpi
    figure.set_figheight(figure.get_figheight() + max(0.0, height - _ROOM_FOR_LEGEND))


def shortened(name: str, most: int = 32) -> str:
    """A name of at most so many characters; of a longer one the middle is left out.

    Example:
        >>> shortened("a_very_long_method_name", most=11)
        'a_ver…_name'
    """
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def as_image(figure: Figure) -> TensorImage:
    """The figure's pixels: what TensorBoard shows, and what loggers of text leave out.

    Args:
        figure: from matplotlib; it is drawn, not shown.

    Returns:
        An image ``(3, height, width)``, uint8.

    Example:
        >>> tuple(as_image(Figure(figsize=(2, 1))).image.shape)
        (3, 80, 160)
    """
    figure.set_dpi(80)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return TensorImage(torch.from_numpy(pixels).permute(2, 0, 1))
