"""The curve of stability against plasticity."""

from __future__ import annotations

import io

import pytest

from avl_pegp.evaluation import stability_plasticity

POINTS = {"0.9": ([0.05, 0.07], [0.90, 0.92]), "1": ([0.0, 0.02], [0.80, 0.84])}


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
    figure.savefig(io.BytesIO(), dpi=20)
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
