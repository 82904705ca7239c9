"""Figures of features and of attention."""

from __future__ import annotations

import io

import numpy as np
import pytest

from avl_pegp.evaluation import attention_mass, feature_map, in_the_plane

RNG = np.random.default_rng(0)
PLANE = RNG.random((6, 2))
LABELS = [3, 3, 5, 5, 9, 9]


def drawn(figure):
    figure.savefig(io.BytesIO(), dpi=20)  # warnings are errors
    return figure.axes


def test_sets_are_laid_out_together_and_the_same_again():
    features = {"new": RNG.random((9, 4)), "end": RNG.random((5, 4))}
    features["again"] = features["new"] + 100.0  # far from the others
    plane = in_the_plane(features, seed=1)
    assert {name: points.shape for name, points in plane.items()} == {
        "new": (9, 2),
        "end": (5, 2),
        "again": (9, 2),
    }
    np.testing.assert_array_equal(plane["new"], in_the_plane(features, seed=1)["new"])
    within = np.linalg.norm(plane["new"] - plane["new"].mean(0), axis=1).max()
    assert np.linalg.norm(plane["new"].mean(0) - plane["again"].mean(0)) > within


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "must be (n, D)"),
        ({"a": np.zeros((3, 2))}, "four rows or more"),
        ({"a": np.zeros((4, 2)), "b": np.zeros((4, 3))}, "one D"),
        ({"a": np.zeros(8)}, "must be (n, D)"),
        ({"a": np.full((4, 2), np.nan)}, "NaN or infinite"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, message):
    with pytest.raises(ValueError) as error:
        in_the_plane(features)
    assert message in str(error.value)


def test_a_map_has_the_same_points_and_axes_in_every_panel():
    axes = drawn(feature_map({"new": PLANE, "end": PLANE + 5}, LABELS, "title"))
    assert [axis.get_title() for axis in axes] == ["new", "end"]
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[0].get_ylim() == axes[1].get_ylim()
    for axis, shift in zip(axes, (0, 5), strict=True):
        for i, points in enumerate(axis.collections):
            np.testing.assert_allclose(points.get_offsets(), PLANE[2 * i : 2 * i + 2] + shift)


def test_classes_have_colours_markers_and_their_names_at_the_centre():
    (axis,) = drawn(feature_map({"new": PLANE}, LABELS, "title", names={5: "five" * 20}))
    assert [text.get_text()[:4] for text in axis.texts] == ["3", "five", "9"]
    assert all(len(text.get_text()) <= 16 for text in axis.texts)
    assert axis.texts[0].xy == pytest.approx(PLANE[:2].mean(0))
    looks = {(tuple(c.get_facecolor()[0]), len(c.get_paths()[0])) for c in axis.collections}
    assert len(looks) == 3


def test_many_classes_have_no_names():
    (axis,) = drawn(feature_map({"new": RNG.random((100, 2))}, range(100), "title"))
    assert len(axis.collections) == 100
    assert not axis.texts


@pytest.mark.parametrize("panels", [{}, {"a": PLANE[:5]}, {"a": np.zeros((6, 3))}])
def test_points_and_labels_that_do_not_fit_are_refused(panels):
    with pytest.raises(ValueError, match="must be \\(6, 2\\), a row a label"):
        feature_map(panels, LABELS, "title")


def test_attention_is_summed_over_tokens_and_averaged_over_heads():
    mass = RNG.random((6, 4, 10)) / 10
    total, plain, pegp, bar = drawn(attention_mass({"plain": mass, "PEGP": mass / 2}, "title"))
    np.testing.assert_allclose(total.lines[0].get_ydata(), 100 * mass.sum(2).mean(1))
    np.testing.assert_allclose(pegp.images[0].get_array(), 50 * mass.mean(1))
    heads = [points.get_offsets()[:, 1] for points in total.collections[:4]]
    np.testing.assert_allclose(heads, 100 * mass.sum(2).T)
    assert plain.images[0].get_clim() == pegp.images[0].get_clim()
    assert plain.images[0].get_extent() == [0.5, 10.5, 5.5, -0.5]
    assert bar.get_ylabel() == "attention (%)"


@pytest.mark.parametrize("shape", [(1, 1, 1), (48, 16, 100)])
def test_attention_of_any_size_is_drawn(shape):
    assert len(drawn(attention_mass({"name" * 50: np.full(shape, 0.001)}, "title" * 100))) == 3


@pytest.mark.parametrize("panels", [{}, {"a": np.zeros((6, 4))}, {"a": np.zeros((0, 4, 5))}])
def test_attention_of_another_shape_is_refused(panels):
    with pytest.raises(ValueError, match="must be \\(blocks, heads, tokens\\)"):
        attention_mass(panels, "title")
