"""Figures from plain arrays."""

from __future__ import annotations

import pytest

from avl_pegp.evaluation import accuracy_over_time, stability_plasticity

POINTS = {"0.9": ([0.05, 0.07], [0.90, 0.92]), "1": ([0.0, 0.02], [0.80, 0.84])}


def test_points_of_the_curve_are_means_in_percent_with_their_deviation():
    (axis,) = stability_plasticity({"lora": {**POINTS, "*plain": ([0.3], [0.95])}}, "title").axes
    joined = axis.lines[0]
    assert joined.get_xdata() == pytest.approx([6, 1])
    assert joined.get_ydata() == pytest.approx([91, 82])
    assert [text.get_text() for text in axis.texts] == ["0.9", "1", "plain"]
    first = axis.containers[0]  # the error bars of the first point
    across = first.lines[2][0].get_segments()[0]
    assert across[1][0] - across[0][0] == pytest.approx(2 * 100 * 0.02 / 2**0.5)


def test_every_pet_has_its_own_panel_line_and_marker():
    pets = ["lora", "adapter", "prompt"]
    axes = stability_plasticity(dict.fromkeys(pets, POINTS), "title").axes
    assert [axis.get_title() for axis in axes] == pets
    assert len({axis.get_xlim() for axis in axes}) == 1
    lines = [axis.lines[0] for axis in axes]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 3


@pytest.mark.parametrize("lines", [{}, {"lora": {"0.9": ([], [])}}])
def test_a_curve_without_values_is_refused(lines):
    with pytest.raises(ValueError, match="lines is empty or has an empty point: give one value"):
        stability_plasticity(lines, "title")


@pytest.mark.parametrize("panels", [{}, {"plain": []}])
def test_accuracy_over_time_without_a_matrix_is_refused(panels):
    with pytest.raises(ValueError, match="panels is empty or has an empty entry"):
        accuracy_over_time(panels, "title")
