"""Figures of accuracy against what their arrays say."""

from __future__ import annotations

import io

import numpy as np
import pytest

from avl_pegp.evaluation import (
    accuracy_and_forgetting,
    accuracy_heat_map,
    accuracy_over_time,
    average_accuracy,
    forgetting,
    stability_plasticity,
)

FIGURES = [accuracy_heat_map, accuracy_over_time, accuracy_and_forgetting]
TWO = [[0.9, None], [0.5, 0.7]]
POINTS = {"0.9": ([0.05, 0.07], [0.90, 0.92]), "1": ([0.0, 0.02], [0.80, 0.84])}


def matrices(size, seeds, above=None):
    """Random ones; above the diagonal, where nothing was learned yet, there may be numbers."""
    rng = np.random.default_rng(0)
    values = rng.random((seeds, size, size)).tolist()
    return [
        [[row[j] if j <= i else above for j in range(size)] for i, row in enumerate(matrix)]
        for matrix in values
    ]


def drawn(figure):
    figure.savefig(io.BytesIO(), dpi=20)  # warnings are errors
    return figure.axes


def test_a_heat_map_shows_the_mean_over_seeds_in_percent():
    axis, bar = drawn(accuracy_heat_map({"PEGP": matrices(4, seeds=3)}, "title"))
    expected = 100 * np.array(matrices(4, 3), dtype=float).mean(0)
    shown = axis.images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(shown, expected)
    numbers = [text.get_text() for text in axis.texts]
    assert numbers == [f"{expected[i, j]:.0f}" for i in range(4) for j in range(i + 1)]
    assert axis.images[0].get_clim() == (0, 100)
    assert bar.get_ylabel() == "accuracy (%)"


def test_squares_of_a_heat_map_lie_about_the_numbers_of_their_experiences():
    axis = accuracy_heat_map({"PEGP": [TWO]}, "title").axes[0]
    assert axis.images[0].get_extent() == [0.5, 2.5, 2.5, 0.5]
    places = {text.get_text(): text.get_position() for text in axis.texts}
    assert places == {"90": (1, 1), "50": (1, 2), "70": (2, 2)}  # across, down


def test_a_large_heat_map_has_no_numbers():
    assert not drawn(accuracy_heat_map({"PEGP": matrices(100, seeds=1)}, "title"))[0].texts


def test_a_panel_a_method_with_a_line_an_experience():
    first, second = drawn(accuracy_over_time({"plain": [TWO], "PEGP": [TWO, TWO]}, "title"))
    assert first.get_title() == "plain: 60 % at the end"
    lines = [line.get_ydata().tolist() for line in second.lines]
    assert pytest.approx([90, 50]) in lines
    assert pytest.approx([90, 60]) in lines  # the mean over what was seen
    assert pytest.approx([90, 70]) in lines  # just learned


@pytest.mark.parametrize("above", [None, 0.99], ids=["not measured", "measured ahead"])
def test_curves_are_means_and_end_at_the_numbers_of_the_record(above):
    given = matrices(6, seeds=3, above=above)
    accuracy, forgotten = drawn(accuracy_and_forgetting({"PEGP": given}, "title"))
    (line,), (lost,) = accuracy.lines, forgotten.lines
    for i in range(6):
        so_far = [[row[: i + 1] for row in matrix[: i + 1]] for matrix in given]
        expected = 100 * np.mean([average_accuracy(m) for m in so_far])
        assert line.get_ydata()[i] == pytest.approx(expected)
        if i > 0:
            expected = 100 * np.mean([forgetting(m) for m in so_far])
            assert lost.get_ydata()[i] == pytest.approx(expected)
    assert np.isnan(lost.get_ydata()[0])  # there is nothing to forget yet


def test_the_band_is_one_deviation_over_seeds_to_both_sides():
    given = matrices(3, seeds=4)
    axis = accuracy_and_forgetting({"PEGP": given}, "title").axes[0]
    ends = [100 * average_accuracy(matrix) for matrix in given]
    corners = axis.collections[0].get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 3, 1]
    assert at_end.max() == pytest.approx(np.mean(ends) + np.std(ends, ddof=1))
    assert at_end.min() == pytest.approx(np.mean(ends) - np.std(ends, ddof=1))
    assert axis.get_title() == "band: deviation over seeds"


def test_one_seed_has_no_band_and_the_figure_says_so():
    axis = accuracy_and_forgetting({"PEGP": [TWO], "plain": [TWO]}, "title").axes[0]
    assert not axis.collections
    assert axis.get_title() == "one seed: no spread"


def test_one_experience_has_no_forgetting_and_the_figure_says_so():
    one, two = [[[0.5]]], [TWO]
    *_, forgotten = drawn(accuracy_and_forgetting({"PEGP": one, "plain": one}, "title"))
    assert [text.get_text() for text in forgotten.texts] == [
        "one experience: nothing to forget yet"
    ]
    for axis in drawn(accuracy_and_forgetting({"PEGP": one, "plain": two}, "title")):
        assert not axis.texts


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize(
    "panels",
    [
        {"one experience": [[[0.5]]]},
        {"nothing": [[[None]]]},
        {"gaps": [[[None, None, None], [0.5, None, None], [float("nan"), 0.2, 0.3]]]},
        {"name" * 100: matrices(3, 2), "<b>_$x^2": matrices(5, 1)},
        {f"method {i}": matrices(100, seeds=2) for i in range(3)},
    ],
    ids=["one", "none", "gaps", "names", "many"],
)
def test_odd_matrices_are_drawn(draw, panels):
    assert len(drawn(draw(panels, "title" * 100))) >= 1


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "panels is empty or has an empty entry"),
        ({"plain": []}, "panels is empty or has an empty entry"),
        ({"plain": [TWO, [[0.5]]]}, "matrices of different size for plain"),
        ({"plain": [[[0.5, 0.5]]]}, "or not square ones"),
    ],
)
def test_what_is_no_matrix_is_refused(draw, panels, message):
    with pytest.raises(ValueError, match=message):
        draw(panels, "title")


def test_points_of_the_curve_are_means_in_percent_with_their_deviation():
    (axis,) = stability_plasticity({"lora": {**POINTS, "*plain": ([0.3], [0.95])}}, "title").axes
    joined = axis.lines[0]
    assert joined.get_xdata() == pytest.approx([6, 1])
    assert joined.get_ydata() == pytest.approx([91, 82])
    assert [text.get_text() for text in axis.texts] == ["0.9", "1", "plain"]
    across, up = axis.containers[0].lines[2]  # the error bars of the first point
    (left, right), (bottom, top) = across.get_segments()[0], up.get_segments()[0]
    assert right[0] - left[0] == pytest.approx(2 * 100 * 0.02 / 2**0.5)
    assert top[1] - bottom[1] == pytest.approx(2 * 100 * 0.02 / 2**0.5)


def test_points_that_lie_on_each_other_share_a_label():
    points = {**POINTS, "0.99": ([0.011], [0.821]), "*first_session": ([0.01], [0.82])}
    first, second = stability_plasticity({"lora": points, "prompt": POINTS}, "title").axes
    assert [text.get_text() for text in first.texts] == ["0.9", "1, 0.99, first_session"]
    assert [text.get_text() for text in second.texts] == ["0.9", "1"]
    assert [text.xy for text in first.texts] == [pytest.approx((6, 91)), pytest.approx((1, 82))]


def test_labels_cover_neither_points_nor_each_other():
    """The first choice, above right of the point, would cover the next point and its label."""
    points = {"a long name": ([0.05], [0.80]), "beside": ([0.09], [0.805]), "far": ([0.4], [0.9])}
    (axis,) = stability_plasticity({"lora": points}, "title").axes
    boxes = [text.get_window_extent() for text in axis.texts]
    centres = axis.transData.transform([(100 * x[0], 100 * y[0]) for x, y in points.values()])
    assert [text.get_text() for text in axis.texts] == [*points]
    assert not any(box.count_contains(centres) for box in boxes)
    assert [box.count_overlaps(boxes) for box in boxes] == [1, 1, 1]  # each its own alone
    assert all(axis.bbox.count_contains(box.corners()) == 4 for box in boxes)
    assert (boxes[2].min > centres[2]).all()  # where nothing is in the way, above right


def test_a_label_crosses_lines_sooner_than_the_edge():
    """To the right of the first point there are bars above and below, to its left is no room."""
    points = {"a long name": ([0.0], [0.8]), "up": ([0.01, 0.11], [0.7, 0.9]), "on": ([0.5], [0.8])}
    (axis,) = stability_plasticity({"lora": points}, "title").axes
    first, *others = (text.get_window_extent() for text in axis.texts)
    lines = [line.get_path().transformed(axis.transData) for line in axis.lines]
    lines += [p.transformed(axis.transData) for c in axis.collections for p in c.get_paths()]
    assert any(line.intersects_bbox(first, filled=False) for line in lines)
    assert axis.bbox.count_contains(first.corners()) == 4
    assert first.count_overlaps(others) == 0


def test_every_pet_has_its_own_panel_line_and_marker():
    pets = ["lora", "adapter", "prompt", "prefix", "context"]
    axes = stability_plasticity(dict.fromkeys(pets, POINTS), "title").axes
    assert [axis.get_title() for axis in axes] == pets
    assert len({axis.get_xlim() for axis in axes}) == 1
    lines = [axis.lines[0] for axis in axes]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 5


def test_where_nothing_is_joined_a_legend_has_each_label_once_in_one_style():
    points = {f"*{label}": values for label, values in POINTS.items()}
    more = {**points, "*plain": ([0.3], [0.95])}
    figure = stability_plasticity({"lora": points, "prompt": more}, "title")
    drawn(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0.9", "1", "plain"]
    first, second = figure.axes
    assert not first.texts
    colours = [[c.lines[0].get_color() for c in axis.containers] for axis in (first, second)]
    assert colours[0] == colours[1][:2]
    assert len(set(colours[1])) == 3


@pytest.mark.parametrize("lines", [{}, {"lora": {"0.9": ([], [])}}])
def test_a_curve_without_values_is_refused(lines):
    with pytest.raises(ValueError, match="lines is empty or has an empty point: give one value"):
        stability_plasticity(lines, "title")
