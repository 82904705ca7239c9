"""What all figures have in common."""

from __future__ import annotations

import io

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from avl_pegp.evaluation.look import (
    count_on,
    legend_below,
    panels_of,
    shade,
    shortened,
    style_of,
)


def luminance(colour):
    return sum(
        weight * part for weight, part in zip((0.3, 0.59, 0.11), to_rgb(colour), strict=True)
    )


@pytest.mark.parametrize(
    ("looks", "count"), [(("marker", "ls"), 40), (("marker", "color"), 56), (("marker",), 8)]
)
def test_lines_are_told_apart_without_their_colour_and_points_without_a_line(looks, count):
    styles = [tuple(style_of(i)[look] for look in looks) for i in range(count)]
    assert len(set(styles)) == count


@pytest.mark.parametrize("count", [1, 2, 48])
def test_shades_rise_in_grey_and_stay_off_the_paper(count):
    greys = [luminance(shade(i, count)[:3]) for i in range(count)]
    assert greys == sorted(greys)
    assert max(greys) < 0.8


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_there_are_as_many_panels_as_asked_for(count):
    figure, axes = panels_of(count, "title")
    assert figure.axes == axes
    assert len(axes) == count


@pytest.mark.parametrize("last", [1, 2, 10, 100, 1000])
def test_ticks_are_few_whole_numbers(last):
    axis = Figure().subplots()
    axis.plot(range(1, last + 1), range(1, last + 1), "o")
    count_on(axis.xaxis)
    ticks = [t for t in axis.get_xticks() if 1 <= t <= last]
    assert 1 <= len(ticks) <= 9
    assert all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize(("length", "most"), [(3, 5), (5, 5), (6, 5), (200, 32), (200, 31)])
def test_a_name_keeps_its_ends_and_fits(length, most):
    name = "".join(chr(ord("a") + i % 26) for i in range(length))
    short = shortened(name, most)
    assert len(short) == min(length, most)
    assert short[0] == name[0]
    assert short[-1] == name[-1]


def test_a_legend_has_every_name_once_and_no_long_ones():
    figure, axes = panels_of(2, "title")
    for axis in axes:
        axis.plot([1], [1], label="n" * 200)
    axes[1].plot([1], [2], label="only here")
    legend_below(figure, axes)
    first, second = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(first) <= 32
    assert second == "only here"


def with_legend(names, columns, panels=2):
    """A figure of so many panels and names, drawn; its legend's box and the first panel's height."""
    figure, axes = panels_of(panels, "title")
    for name in names:
        axes[0].plot([1], [1], label=name)
    legend_below(figure, axes, columns)
    figure.savefig(io.BytesIO(), dpi=figure.dpi)
    return figure, figure.legends[0].get_window_extent(), axes[0].get_window_extent()


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("letter", ["i", "n", "M"])
def test_a_legend_is_never_wider_than_its_figure(letter, panels):
    names = [f"{i}{letter * 40}" for i in range(8)]
    figure, legend, _ = with_legend(names, columns=4, panels=panels)
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


def test_a_legend_has_the_columns_that_were_asked_for_where_they_fit():
    _, in_two, _ = with_legend("abcdef", columns=2)
    _, in_three, _ = with_legend("abcdef", columns=3)
    assert in_two.width < in_three.width
    assert in_two.height > in_three.height


@pytest.mark.parametrize("count", [10, 26, 39, 100])
def test_panels_keep_their_height_over_a_long_legend(count):
    few, _, usual = with_legend([f"method {i}" for i in range(9)], columns=3)
    figure, legend, panel = with_legend([f"method {i}" for i in range(count)], columns=3)
    assert figure.get_figheight() > few.get_figheight() == 3.9  # nine are no reason to grow
    assert panel.height >= 0.95 * usual.height
    assert 0 <= legend.y0 < legend.y1 < panel.y0
