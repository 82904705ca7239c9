"""Features and attention mass, taken from models as they run, and their figures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from models import images, small_vit
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import (
    attention_mass,
    classifier_features,
    feature_map,
    in_the_plane,
    token_mass,
)
from avl_pegp.pet import LoRA, Prefix, Prompt, attach

DATA = TensorDataset(images(7, seed=1), torch.arange(7))
RNG = np.random.default_rng(0)
PLANE = RNG.random((6, 2))
LABELS = [3, 3, 5, 5, 9, 9]


def hooks_of(model):
    return [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]


@pytest.mark.parametrize("batch_size", [2, 7])
def test_features_are_what_the_classifier_makes_its_logits_of(batch_size):
    model = small_vit().train()
    features, targets = classifier_features(model, DATA, batch_size)
    assert model.training
    assert not hooks_of(model)
    assert not features.requires_grad
    assert targets.tolist() == list(range(7))
    with torch.no_grad():
        logits = model.eval()(DATA.tensors[0])
    torch.testing.assert_close(model.get_classifier()(features), logits)


def test_features_of_nothing_and_of_a_model_without_its_classifier_are_refused():
    model = small_vit()
    with pytest.raises(ValueError, match="the data set has no samples"):
        classifier_features(model, TensorDataset(torch.zeros(0, 3, 32, 32), torch.zeros(0)))
    model.forward = model.forward_features
    with pytest.raises(RuntimeError, match="never called the classifier"):
        classifier_features(model, DATA)
    assert not hooks_of(model)


def mass_by_hand(model, block, x):
    """Softmax over own and learned keys of one block, written out; the part on learned ones."""
    seen = []
    attention = model.blocks[block].attn
    hook = attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(x)
    hook.remove()
    base, (tokens,) = attention.base, attention.tokens.values()
    qkv = base.qkv(seen[0]).unflatten(-1, (3, base.num_heads, -1)).permute(2, 0, 3, 1, 4)
    keys, _ = tokens.keys_values(base)
    q, k = base.q_norm(qkv[0]), base.k_norm(qkv[1])
    scores = torch.cat([q @ keys.mT, q @ k.mT], -1) * q.shape[-1] ** -0.5
    return F.softmax(scores, -1)[..., : keys.shape[-2]].mean(dim=(0, 2))


@pytest.mark.parametrize("pet", [Prefix(5), Prompt(5), Prompt(5, blocks=[1])])
@pytest.mark.parametrize("batch_size", [2, 7])
def test_mass_is_the_mean_share_of_attention_on_learned_tokens(pet, batch_size):
    model = small_vit()
    attach(model, pet)
    found = token_mass(model, DATA, batch_size)
    assert not hooks_of(model)
    blocks = range(3) if pet.blocks is None else pet.blocks
    kind = type(pet).__name__.lower()
    assert list(found) == [f"blocks.{i}.attn.tokens.{kind}" for i in blocks]
    for i, mass in zip(blocks, found.values(), strict=True):
        torch.testing.assert_close(mass, mass_by_hand(model, i, DATA.tensors[0]))


@pytest.mark.parametrize("pet", [LoRA(2), Prompt(3, deep=False)])
def test_a_model_without_such_tokens_is_refused(pet):
    model = small_vit()
    attach(model, pet)
    with pytest.raises(ValueError, match="has no prefix and no deep prompt"):
        token_mass(model, DATA)


def test_hooks_are_gone_where_a_model_fails():
    model = small_vit()
    attach(model, Prefix(2))
    model.norm = nn.Linear(1, 1)
    with pytest.raises(RuntimeError):
        token_mass(model, DATA)
    assert not hooks_of(model)


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
